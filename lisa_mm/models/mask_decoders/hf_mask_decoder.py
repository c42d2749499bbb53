"""The Segment Anything family of transformers, prompted by embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    EdgeTamModel,
    PretrainedConfig,
    PreTrainedModel,
    Sam2Model,
    Sam3TrackerModel,
    SamHQModel,
    SamModel,
)
from transformers.utils import is_timm_available

from ...errors import CheckpointError, ConfigError, nearest
from ...file_kinds import read_json
from ...registry import MASK_DECODERS
from ...structures import MaskImageSpec
from ..architecture import architecture_of, folder_architecture, written_architecture
from ..base import BaseMaskDecoder, ImageEmbeddings, Part, TrainableGroup
from ..precision import keep_float32
from ..reading import to_be_filled
from ..transformers_versions import BUILDS_EDGETAM, build_shapes, read_model
from ..weight_files import read_weights
from ..weights import is_trained, load_strictly
from .repeating import for_prompts
from .sam_keys import from_segment_anything
from .sam_mask_decoder import SAM_MEAN, SAM_STD
from .upscaling import upscale_masks

CLASSES: dict[str, type[PreTrainedModel]] = {
    'sam': SamModel,
    'sam_hq': SamHQModel,
    'sam2': Sam2Model,
    'edgetam': EdgeTamModel,
    'sam3_tracker': Sam3TrackerModel,
}
SAME_MODEL = {'sam2_video': 'sam2', 'edgetam_video': 'edgetam', 'sam3_video': 'sam3_tracker'}  # folders of video models
PYRAMIDS = ('sam2', 'edgetam', 'sam3_tracker')  # encoders with feature maps of several sizes
EXACT = 'positional_embedding'  # stays in float32: sines of large phases are meaningless in bfloat16
_NO_FOLDER = '{}: only SAM is read from a file; give the Hugging Face folder of {}.'
# Means and deviations on the 0-255 scale, from the released models' image processors
IMAGENET = {'mean': (123.675, 116.28, 103.53), 'std': (58.395, 57.12, 57.375)}
HALF = {'mean': (127.5, 127.5, 127.5), 'std': (127.5, 127.5, 127.5)}


@MASK_DECODERS.register_module()
class HFMaskDecoder(BaseMaskDecoder):
    """SAM, SAM-HQ, SAM 2 / 2.1, EdgeTAM (needs timm) or SAM 3's tracker, by transformers; includes the image encoder.

    Prompt width, mask size and preprocessing follow from the model. With one mask per prompt, some parts get no gradient and are
    frozen: the prompt encoder, the heads for IoU and object scores, the hypernetworks of the other masks.

    Args:
        pretrained: A Hugging Face folder, or for ``model_type='sam'`` a file in the key format of segment-anything
            (``sam_vit_h_4b8939.pth``; give ``config`` then). None for random weights.
        config: The architecture, ``dict(model_type='sam2', vision_config=..., ...)``; needed without a folder.
        encoder_frozen: If True, the image encoder gets no gradient and runs outside the graph.
        hq_token_only: For SAM-HQ: use its own mask alone, without adding SAM's.
        attention: 'sdpa' or 'eager'; the model's default if left out.
        frozen: If True, the decoder gets no gradient; the image encoder has a key of its own.

    Raises:
        ConfigError: for another model type, or EdgeTAM without timm or with transformers before 5.20.
        CheckpointError: for a folder without a config, or with weights missing.
    """

    model: Any  # one of CLASSES

    def __init__(
        self,
        *,
        pretrained: str | None = None,
        config: dict[str, Any] | None = None,
        encoder_frozen: bool = True,
        hq_token_only: bool = False,
        attention: str | None = None,
        frozen: bool = False,
    ):
        super().__init__(frozen=frozen)
        self.encoder_frozen = encoder_frozen
        self.hq_token_only = hq_token_only
        path = self._path = Path(pretrained) if pretrained else None
        written = read_architecture(path, config)
        self.kind = written.model_type
        if path is not None and self.kind != 'sam' and path.is_file():
            raise CheckpointError(_NO_FOLDER.format(path, self.kind))
        if self.kind in PYRAMIDS:
            # it swaps masks by stability in eval mode only, so training and evaluation would differ
            written.mask_decoder_config.dynamic_multimask_via_stability = False
        self._options = {'attn_implementation': attention} if attention else {}
        build = CLASSES[self.kind]._from_config
        if path is not None and self.kind != 'sam':
            self.model = self._prepared(build_shapes(build, written, **self._options))
        else:
            with to_be_filled(path is not None):
                self.model = self._prepared(build(written, dtype=torch.float32, **self._options))

    def load_pretrained(self) -> None:
        path = self._path
        self.from_file = path is not None
        if path is None:
            return
        if path.is_dir():
            written = self.model.config
            del self.model  # frees the meta model, built for its shapes
            model = read_model(
                CLASSES[self.kind],
                path,
                'the mask decoder',
                exact=lambda name, _: name == EXACT,
                config=written,
                **self._options,
            )
            self.model = self._prepared(model)
        elif self.kind == 'sam':
            load_strictly(self.model, from_segment_anything(read_weights(path)), str(path))
        else:
            raise CheckpointError(_NO_FOLDER.format(path, self.kind))

    @staticmethod
    def _prepared(model: Any) -> Any:
        keep_float32(model.shared_image_embedding, EXACT)
        return model

    def trainable_groups(self) -> dict[str, TrainableGroup | Part]:
        decoder = self.model.mask_decoder
        masks = list(decoder.output_hypernetworks_mlps)
        unused = [self.model.prompt_encoder, decoder.iou_prediction_head]
        unused += masks if self.kind == 'sam_hq' and self.hq_token_only else masks[1:]
        if self.kind in PYRAMIDS:
            unused.append(decoder.pred_obj_score_head)
        return {
            **super().trainable_groups(),
            'image_encoder': TrainableGroup((self.model.vision_encoder,), frozen=self.encoder_frozen, key='encoder_frozen'),
            'unused': TrainableGroup(tuple(unused), unused=True),
        }

    def without_files(self, tokenizer: str) -> dict[str, Any]:
        return {'config': architecture_of(self.model.config)}

    @property
    def prompt_dim(self) -> int:
        return self.model.config.mask_decoder_config.hidden_size

    @property
    def image_size(self) -> int:
        """Side of the square input in pixels."""
        return self.model.config.prompt_encoder_config.image_size

    @property
    def preprocess(self) -> MaskImageSpec:
        if self.kind in PYRAMIDS:
            numbers = HALF if self.kind == 'sam3_tracker' else IMAGENET
            return {'image_size': self.image_size, 'mean': numbers['mean'], 'std': numbers['std'], 'resize': 'squash'}
        return {'image_size': self.image_size, 'mean': SAM_MEAN, 'std': SAM_STD, 'resize': 'longest_side'}

    @property
    def frozen_encoder(self) -> nn.Module | None:
        return self.model.vision_encoder

    def encoder_features(self, pixels: Tensor) -> ImageEmbeddings:
        dtype = next(self.model.vision_encoder.parameters()).dtype
        with torch.set_grad_enabled(torch.is_grad_enabled() and is_trained(self.model.vision_encoder)):
            out = self.model.vision_encoder(pixels.to(dtype), return_dict=True)
        if self.kind in PYRAMIDS:
            fine, middle, coarse = list(out.fpn_hidden_states)[:3]  # (B, C, h, w)
            return ImageEmbeddings(coarse, {'fine': fine, 'middle': middle})
        extra = {'early': out.intermediate_embeddings[0]} if self.kind == 'sam_hq' else {}
        return ImageEmbeddings(out.last_hidden_state, extra)

    def from_features(self, features: ImageEmbeddings) -> ImageEmbeddings:
        if self.kind not in PYRAMIDS:
            return features
        # trained with the decoder
        return ImageEmbeddings(features.features + self.model.no_memory_embedding.view(1, -1, 1, 1), features.extra)

    def encode_image(self, pixels: Tensor) -> ImageEmbeddings:
        return self.from_features(self.encoder_features(pixels))

    def forward(self, embeddings: ImageEmbeddings, prompts: list[Tensor]) -> list[Tensor]:
        counts = [len(prompt) for prompt in prompts]
        sparse = torch.cat(prompts)  # (K, C)
        decoder = self.model.mask_decoder
        if not len(sparse):  # the layers reject an empty batch
            side = 4 * embeddings.features.shape[-1]
            return [sparse.new_zeros(0, side, side) for _ in prompts]

        # Image features of each prompt's image
        features = for_prompts(embeddings.features, counts)  # (K, C, h, w)
        further: dict[str, Any] = {}
        if self.kind in PYRAMIDS:
            extra = embeddings.extra
            further['high_resolution_features'] = [
                for_prompts(decoder.conv_s0(extra['fine']), counts),
                for_prompts(decoder.conv_s1(extra['middle']), counts),
            ]
        elif self.kind == 'sam_hq':
            further['intermediate_embeddings'] = [for_prompts(embeddings.extra['early'], counts)]
            further['hq_token_only'] = self.hq_token_only

        # One mask per prompt
        position = self.model.get_image_wide_positional_embeddings().to(features.dtype).expand_as(features)
        masks = decoder(
            image_embeddings=features,
            image_positional_embeddings=position,
            sparse_prompt_embeddings=sparse[:, None, None],  # (K, 1, 1, C)
            dense_prompt_embeddings=self.model.prompt_encoder.no_mask_embed.weight.view(1, -1, 1, 1),
            multimask_output=False,
            **further,
        )[0]  # (K, 1, 1, 4h, 4w)
        return list(masks[:, 0, 0].split(counts))

    def upscale(self, logits: Tensor, resized_size: tuple[int, int], original_size: tuple[int, int]) -> Tensor:
        square = None if self.kind in PYRAMIDS else self.image_size  # its padding is cropped
        return upscale_masks(logits, square, resized_size, original_size)


def read_architecture(path: Path | None, config: dict[str, Any] | None) -> PretrainedConfig:
    """Read the architecture of a folder, or the written one."""
    if config is not None:
        kind = config.get('model_type')
        if kind not in CLASSES:
            raise ConfigError(f'mask_decoder.config.model_type is {kind!r}.{nearest(str(kind), CLASSES)}')
        check_timm(kind)
        return written_architecture(config, 'model.mask_decoder.config')
    if path is None:
        raise ConfigError("HFMaskDecoder needs pretrained=FOLDER or config=dict(model_type='sam', ...).")
    if not (path / 'config.json').is_file():
        raise CheckpointError(
            f'mask_decoder.pretrained: {path} holds no config.json. Give a Hugging Face folder, or config=dict(...) too.'
        )
    check_timm(read_json(path / 'config.json').get('model_type'))
    written = folder_architecture(path)
    kind = SAME_MODEL.get(written.model_type, written.model_type)
    if kind not in CLASSES:
        raise ConfigError(f'{path} holds a {written.model_type!r}, no mask decoder of this family: {", ".join(CLASSES)}.')
    return written if kind == written.model_type else CLASSES[kind].config_class.from_pretrained(path)  # type: ignore[union-attr] - set


def check_timm(kind: object) -> None:
    """Raise an error if timm is missing: without it, EdgeTAM's architecture cannot even be read."""
    if SAME_MODEL.get(str(kind), kind) != 'edgetam':
        return
    if not is_timm_available():
        raise ConfigError(
            "mask_decoder: EdgeTAM's image encoder is one of timm, which is not installed: pip install timm (lisa_mm[edgetam])."
        )
    if not BUILDS_EDGETAM:
        raise ConfigError(
            f'mask_decoder: EdgeTAM needs transformers 5.20 or later, installed is {transformers.__version__}. '
            "Update it, or take another mask decoder, e.g. 'sam2'."
        )
