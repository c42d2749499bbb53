"""Features of frozen encoders: which may be kept on disk, under which key, and how a batch is completed with them."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from typing import TYPE_CHECKING, Any

import torch
from PIL import Image, features
from torch import Tensor, nn
from transformers import PretrainedConfig

from ..datasets.feature_store import Entry
from ..structures import ImageSpec, MaskImageSpec
from .base import BaseMaskDecoder, BaseMLLM
from .batch import ModelInputs
from .tuning import PLACES
from .weights import is_trained

if TYPE_CHECKING:
    from .lisa import LISA

VERSION = 1  # of what the code of this package does to images before an encoder, and of the files
PIXELS = {'vision_tower': 'pixel_values', 'image_encoder': 'mask_images'}  # name of an encoder -> its input
READERS = ('embed', 'image_tokens', 'encoder_features')  # methods that read pixels or found features
# settings that do not change what an encoder gives
OF_A_RUN = ('training', 'frozen', 'from_file', 'pretrained', '_name_or_path', 'name_or_path', 'transformers_version')
SIMPLE = (bool, int, float, str, type(None))


def is_cached(name: str, inputs: ModelInputs) -> bool:
    """Whether a batch comes from a pipeline that looks this encoder's features up."""
    return 'cached' in inputs and name in inputs['cached']['found']


def encode_maps(owner: BaseMLLM | BaseMaskDecoder, pixels: Tensor) -> dict[str, Tensor]:
    """What an encoder gives for pixels (B, 3, H, W): name -> features (B, ...)."""
    made = owner.encoder_features(pixels)
    return {'features': made} if isinstance(made, Tensor) else {'features': made.features, **made.extra}


def complete_features(name: str, owner: BaseMLLM | BaseMaskDecoder, inputs: ModelInputs, numbers: list[int]) -> dict[str, Tensor]:
    """Features of some images of a batch: found ones as they are, the others encoded and kept.

    New features take the number format of the store and come back from it, so that a step gives the same losses whether they were
    on disk or not.

    Args:
        name: Name of the encoder.
        owner: The part that has it.
        inputs: A batch for which :func:`is_cached`.
        numbers: Numbers of the wanted images in the batch.

    Returns:
        Name -> (number of wanted images, ...), in the order of ``numbers``.
    """
    assert 'cached' in inputs
    cached, store = inputs['cached'], owner.feature_store
    found = cached['found'][name]
    place = {number: row for row, number in enumerate(found['numbers'])}
    unknown = {number: row for row, number in enumerate(n for n in range(len(cached['keys'])) if n not in place)}
    missing = [number for number in numbers if number in unknown]
    known = [number for number in numbers if number in place]
    parts: list[dict[str, Tensor]] = []
    if known:
        rows = [place[number] for number in known]
        parts.append({key: _rows(value, rows).to(dtype_of(found['given'][key])) for key, value in found['maps'].items()})
    if missing:
        pixels: Any = inputs.get(PIXELS[name])
        with torch.no_grad():
            new = encode_maps(owner, _rows(pixels, [unknown[number] for number in missing]))
        stored = {key: value if found['stored'] is None else value.to(dtype_of(found['stored'])) for key, value in new.items()}
        if store is not None:
            given = {key: dtype_name(value.dtype) for key, value in new.items()}
            on_host = {key: value.cpu() for key, value in stored.items()}
            for row, number in enumerate(missing):
                maps = {key: value[row].clone() for key, value in on_host.items()}
                sizes = cached['original_sizes'][number], cached['resized_sizes'][number]
                store.write(found['encoder'], cached['keys'][number], Entry(maps, given, *sizes))
        parts.append({key: value.to(new[key].dtype) for key, value in stored.items()})
    if len(parts) == 1:
        return parts[0]
    order = [*known, *missing]
    rows = [order.index(number) for number in numbers]
    return {key: _rows(torch.cat([part[key] for part in parts]), rows) for key in parts[0]}


def _rows(values: Tensor, rows: list[int]) -> Tensor:
    """These rows, without a copy if they are all."""
    return values if rows == list(range(len(values))) else values[rows]


def dtype_of(name: str) -> torch.dtype:
    """'float16' -> torch.float16."""
    return getattr(torch, name)


def dtype_name(dtype: torch.dtype) -> str:
    """torch.float16 -> 'float16'."""
    return str(dtype).removeprefix('torch.')


def frozen_encoders(model: LISA) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """The encoders whose features may be kept, by name, and for each other one the reason why not.

    Names are 'vision_tower' and 'image_encoder', as in ``model.lora``.
    """
    found: dict[str, nn.Module] = {}
    reasons: dict[str, str] = {}
    for name, owner in (('vision_tower', model.mllm), ('image_encoder', model.mask_decoder)):
        encoder = owner.frozen_encoder if _is_whole(owner) else None
        if encoder is None:
            reasons[name] = f'{type(owner).__name__} does not say how to keep the features of its {name} (frozen_encoder)'
        elif is_trained(encoder):
            reasons[name] = f'{PLACES[name]} is not frozen ({model.tuned.get(PLACES[name], "trained")}): its features change'
        else:
            found[name] = encoder
    return found, reasons


def _is_whole(owner: nn.Module) -> bool:
    """Whether the class that says how to keep features is the one that says how to encode: a subclass may add to the latter."""
    givers = {
        next((cls for cls in type(owner).__mro__ if name in vars(cls)), None)
        for name in ('frozen_encoder', 'encode_image', *READERS)
        if hasattr(owner, name)
    }
    return len(givers) == 1


def weights_key(encoder: nn.Module) -> str:
    """A hash of an encoder's weights with their number format, and of its architecture."""
    digest = hashlib.blake2b(digest_size=20)
    for name, module in encoder.named_modules():
        settings = {key: value for key, value in vars(module).items() if not key.startswith('_') and _is_simple(value)}
        settings = {key: value for key, value in settings.items() if key not in OF_A_RUN}
        config: Any = getattr(module, 'config', None)
        architecture = config.to_dict() if isinstance(config, PretrainedConfig) else {}
        architecture = {key: value for key, value in architecture.items() if key not in OF_A_RUN}
        kind = f'{type(module).__module__}.{type(module).__qualname__}'
        digest.update(json.dumps([name, kind, settings, architecture], sort_keys=True, default=str).encode())
    for name, value in [*encoder.named_parameters(), *encoder.named_buffers()]:
        whole = value.detach().cpu().contiguous()
        digest.update(f'{name}{tuple(whole.shape)}{whole.dtype}'.encode())
        digest.update(whole.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _is_simple(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_simple(item) for item in value)
    return isinstance(value, SIMPLE)


def encoder_key(
    weights: str,
    preprocess: ImageSpec | MaskImageSpec,
    *,
    autocast: torch.dtype | None,
    tf32: bool,
    stored: str | None,
) -> str:
    """The key of an encoder in the store: all that its features depend on besides the image.

    Args:
        weights: :func:`weights_key`.
        preprocess: The images that it gets.
        autocast: Number format of autocast while it runs; None without.
        tf32: Whether a GPU multiplies its float32 numbers with fewer digits.
        stored: Number format of the store; None keeps what the encoder gives.
    """
    facts: dict[str, Any] = {
        'version': VERSION,
        'weights': weights,
        'preprocess': preprocess,
        'autocast': None if autocast is None else dtype_name(autocast),
        'tf32': tf32,
        'stored': stored,
        # they decode and resize
        'pillow': Image.__version__,
        'jpeg': features.version('libjpeg_turbo') or features.version('jpg'),
        'transformers': importlib.metadata.version('transformers'),
    }
    text = json.dumps(facts, sort_keys=True, default=list)
    return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()
