"""Vision towers of transformers: CLIP, SigLIP, SigLIP 2, DINOv2, DINOv3."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Resampling
from torch import Tensor
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    CLIPVisionModel,
    Dinov2Model,
    Dinov2WithRegistersModel,
    DINOv3ViTModel,
    PretrainedConfig,
    PreTrainedModel,
    SiglipVisionModel,
)
from transformers.utils import logging

from ...errors import CheckpointError, ConfigError, nearest
from ...file_kinds import check_tokenizer_files, library_words
from ...registry import BACKBONES
from ...structures import TowerImageSpec
from ..architecture import architecture_of, folder_architecture
from ..base import BaseVisionTower, Part, TrainableGroup
from ..transformers_versions import build_shapes, read_model
from ..weights import check_architecture, is_trained

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Processing:
    """How an image is resized and normalised for the tower.

    Args:
        mean: Channel means on the 0-1 scale.
        std: Channel deviations on the 0-1 scale.
        resample: Number of PIL's resampling filter.
        crop: If True, crop the middle; else squeeze the whole image into the square.
        margin: Shortest edge before the crop, divided by the side of the crop.
        side: Side of the square in pixels; None: the side that the architecture was trained at.
    """

    mean: Triple
    std: Triple
    resample: int
    crop: bool = False
    margin: float = 1.0
    side: int | None = None


@dataclass(frozen=True)
class Family:
    """Facts about a family of towers that its architecture does not record.

    Args:
        model: The tower's class.
        processing: Processing for folders without an image processor.
        layers: Path of the layers in the model.
        norm: Path of the norm after the last layer.
        class_token: If True, a class token (and register tokens after it) precedes the patches.
        asks: If True, the forward needs a flag to interpolate positions to another image size.
        settings: Architecture settings that leave out what is not used here.
    """

    model: type[PreTrainedModel]
    processing: Processing
    layers: str = 'encoder.layers'
    norm: str = 'post_layernorm'
    class_token: bool = True
    asks: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


# Means and deviations: OpenAI's CLIP, https://github.com/openai/CLIP; ImageNet; -1 to 1
_CLIP = Processing((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711), int(Resampling.BICUBIC), crop=True)
_HALF = Processing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), int(Resampling.BICUBIC))
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_DINOV2 = Processing(*_IMAGENET, int(Resampling.BICUBIC), crop=True, margin=256 / 224)
FAMILIES: dict[str, Family] = {
    'clip_vision_model': Family(CLIPVisionModel, _CLIP, asks=True),
    # its head pools an image into one vector, which nothing here uses
    'siglip_vision_model': Family(SiglipVisionModel, _HALF, class_token=False, asks=True, settings=dict(vision_use_head=False)),
    'dinov2': Family(Dinov2Model, _DINOV2, 'encoder.layer', 'layernorm'),
    'dinov2_with_registers': Family(Dinov2WithRegistersModel, _DINOV2, 'encoder.layer', 'layernorm'),
    'dinov3_vit': Family(
        DINOv3ViTModel,
        Processing(*_IMAGENET, int(Resampling.BILINEAR)),
        'model.layer',
        'norm',
        # positions are shifted at random in train mode: training and evaluation would differ
        settings=dict(pos_embed_shift=None, pos_embed_jitter=None, pos_embed_rescale=None),
    ),
}
_NO_CONFIG = 'vision_tower.pretrained: {} holds no config.json. Give a Hugging Face folder.'
TWO_TOWERS = ('clip', 'siglip')  # folders that also hold a text tower
REFUSED = {'siglip2': 'it takes patches of any number; give a SigLIP 2 of fixed size, whose model_type is siglip'}
REFUSED['siglip2_vision_model'] = REFUSED['siglip2']


@BACKBONES.register_module()
class HFVisionTower(BaseVisionTower):
    """Patch features of CLIP, SigLIP, SigLIP 2 (of fixed size), DINOv2 (with registers) or DINOv3 (ViT), by transformers.

    Class and register tokens are dropped. Image size, normalisation and filter follow from the folder's
    ``preprocessor_config.json``; without one, from the family.

    Args:
        pretrained: A Hugging Face folder (of CLIP and SigLIP with or without the text tower), or None.
        config: The architecture, ``dict(model_type='siglip_vision_model', hidden_size=..., ...)``; needed when ``pretrained`` is
            None. Beside ``pretrained`` it allows checking a config before the folder is there, and must agree with it.
        layer: Hidden state to take: -1 is the last layer's, -2 the one before (LLaVA). None takes the model's output, which is
            the last layer's after the final norm (CLIP's norm is the class token's alone).
        image_size: Side of the square input in pixels; if left out, the folder's processor or else the architecture decides.
            Positions are interpolated if the tower was trained at another side.
        full_view: True squeezes the whole image into the square, False crops its middle; the family's default if left out.
        processing: Fields of :class:`Processing` that override the folder's processor, or else the family's defaults.
        frozen: If True, it gets no gradient and runs outside the graph.

    Shapes:
        (B, 3, S, S) -> (B, (S / patch)^2, hidden), S / patch rounded down

    Raises:
        ConfigError: for another family, a layer that does not exist, or a size that is not a multiple of the patches.
        CheckpointError: for a folder without a config, or with weights missing.
    """

    kinds: tuple[str, ...] = tuple(FAMILIES)

    def __init__(
        self,
        *,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        layer: int | None = None,
        image_size: int | None = None,
        full_view: bool | None = None,
        processing: dict[str, Any] | None = None,
        frozen: bool = True,
    ):
        super().__init__(frozen=frozen)
        self.layer = layer
        folder = self._folder = Path(pretrained) if pretrained else None
        written = self._architecture(folder, config)
        self.family = FAMILIES[written.model_type]
        for key, value in self.family.settings.items():
            setattr(written, key, value)
        self.processing = _changed(read_processing(folder, self.family.processing), processing or {})
        self.crop = self.processing.crop if full_view is None else not full_view
        self.image_size = image_size or self.processing.side or int(written.image_size)
        if self.image_size != written.image_size and self.image_size % written.patch_size:
            raise ConfigError(
                f'vision_tower.image_size {self.image_size} is no multiple of its patches of {written.patch_size} pixels, '
                f'and it was trained at {written.image_size}. Give a multiple.'
            )
        states = written.num_hidden_layers + 1
        if layer is not None and not -states <= layer < states:
            raise ConfigError(f'vision_tower.layer is {layer}, but there are {states} hidden states: {-states} to {states - 1}.')
        build = self.family.model._from_config
        self.model: Any = build_shapes(build, written) if folder else build(written, dtype=torch.float32)

    def load_pretrained(self) -> None:
        self.from_file = self._folder is not None
        if self._folder is None:
            return
        if not (self._folder / 'config.json').is_file():
            raise CheckpointError(_NO_CONFIG.format(self._folder))
        written = self.model.config
        del self.model  # frees the meta model, built for its shapes
        self.model = _read(self.family.model, self._folder, written)

    def _architecture(self, folder: Path | None, config: dict[str, Any] | None) -> PretrainedConfig:
        """The architecture of the folder, or as written; both must agree."""
        name = type(self).__name__
        if folder is None and config is None:
            raise ConfigError(f"{name} needs pretrained=FOLDER or config=dict(model_type='siglip_vision_model', ...).")
        if folder and not (folder / 'config.json').is_file() and not config:
            raise CheckpointError(_NO_CONFIG.format(folder))
        found = None
        if folder and (folder / 'config.json').is_file():
            found = folder_architecture(folder)
            found = found.vision_config if found.model_type in TWO_TOWERS else found
            self._check_kind(found.model_type, f'{folder} holds a')
        if config is not None:
            self._check_kind(config.get('model_type'), 'vision_tower.config.model_type is')
        if found is None:
            return AutoConfig.for_model(**config)  # type: ignore[arg-type] - given, without a folder
        if config:
            check_architecture(config, found.to_dict(), 'model.mllm.vision_tower', folder)  # pyright: ignore[reportArgumentType] - found is of a folder
        return found

    def _check_kind(self, kind: str | None, given: str) -> None:
        if kind in REFUSED:
            raise ConfigError(f'{given} {kind!r}, which {type(self).__name__} does not take: {REFUSED[kind]}.')
        if kind not in self.kinds:
            hint = nearest(str(kind), self.kinds) if kind not in FAMILIES else " Use type='HFVisionTower'."
            raise ConfigError(f'{given} {kind!r}, no tower of {type(self).__name__} ({", ".join(self.kinds)}).{hint}')

    def without_files(self, tokenizer: str) -> dict[str, Any]:
        own, usual = asdict(self.processing), asdict(self.family.processing)
        changed = {key: value for key, value in own.items() if value != usual[key]}
        return {'config': architecture_of(self.model.config), **({'processing': changed} if changed else {})}

    @property
    def out_channels(self) -> int:
        return self.model.config.hidden_size

    @property
    def preprocess(self) -> TowerImageSpec:
        square = {'height': self.image_size, 'width': self.image_size}
        return {
            'size': {'shortest_edge': round(self.image_size * self.processing.margin)} if self.crop else square,
            'crop_size': square,
            'do_center_crop': self.crop,
            'resample': self.processing.resample,
            'image_mean': self.processing.mean,
            'image_std': self.processing.std,
        }

    def num_tokens(self, height: int, width: int) -> int:
        del height, width  # every image is resized to one size
        return (self.image_size // self.model.config.patch_size) ** 2

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        return {**super().trainable_groups(), 'unused': TrainableGroup(tuple(self._beside_the_way()), unused=True)}

    def _beside_the_way(self) -> Iterator[torch.nn.Parameter]:
        """Parameters that the features do not use: later layers, the norm after them, the embedding of masked patches."""
        model, family = self.model, self.family
        yield from (parameter for name, parameter in model.named_parameters() if name.endswith('mask_token'))
        if self.layer is not None:
            taken = self.layer % (model.config.num_hidden_layers + 1)
            for layer in list(model.get_submodule(family.layers).children())[taken:]:
                yield from layer.parameters()
        if self.layer is not None or family.model is CLIPVisionModel:
            yield from model.get_submodule(family.norm).parameters()

    def forward(self, pixels: Tensor) -> Tensor:
        interpolate = self.family.asks and self.image_size != self.model.config.image_size
        options = {'interpolate_pos_encoding': True} if interpolate else {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(self)):
            out = self.model(pixel_values=pixels, output_hidden_states=self.layer is not None, **options)
        states = out.last_hidden_state if self.layer is None else out.hidden_states[self.layer]
        before = 1 + getattr(self.model.config, 'num_register_tokens', 0) if self.family.class_token else 0
        return states[:, before:]  # (B, N, C)


def read_processing(folder: Path | None, default: Processing) -> Processing:
    """How a folder's image processor treats images; ``default`` where there is no processor."""
    if folder is None or not (folder / 'preprocessor_config.json').is_file():
        return default
    check_tokenizer_files(folder)
    try:
        found: Any = AutoImageProcessor.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f'{folder / "preprocessor_config.json"}: {library_words(error)}.') from None
    crop = bool(found.do_center_crop)
    square = found.crop_size if crop else found.size
    side = square.height if square is not None else None
    edge = found.size.shortest_edge
    return Processing(
        tuple(found.image_mean),
        tuple(found.image_std),
        int(found.resample),
        crop,
        edge / side if crop and edge and side else 1.0,
        side,
    )


def _changed(found: Processing, changes: dict[str, Any]) -> Processing:
    known = [item.name for item in fields(Processing)]
    faults = [f'vision_tower.processing has no {key!r}.{nearest(key, known)}' for key in changes if key not in known]
    if faults:
        raise ConfigError(faults)
    return replace(found, **{key: tuple(value) if isinstance(value, list) else value for key, value in changes.items()})


def _read(cls: type[PreTrainedModel], folder: Path, config: PretrainedConfig) -> Any:
    """Read the image tower's weights; a text tower in the same folder is not read."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # otherwise it lists every weight of the text tower
    try:
        return read_model(cls, folder, 'the image tower', config=config)
    finally:
        logging.set_verbosity(verbosity)
