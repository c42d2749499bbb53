"""Differences between transformers 5.17 and later versions; each function handles both."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache, GenerationMixin, PretrainedConfig, PreTrainedModel, configuration_utils
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.modeling_utils import set_zero3_state

from ..errors import CheckpointError
from .base import MLLMOutput
from .phases import shapes_only
from .reading import current_reading, parameters_in
from .weight_files import check_files, is_finite

# encoded images: 5.18
TAKES_ENCODED = hasattr(GenerationMixin, '_supports_mm_encoder_outputs')
# EdgeTAM's architecture without a hub lookup: 5.20
BUILDS_EDGETAM = hasattr(configuration_utils, 'SubConfigSpec')


def build_shapes(build: Callable[..., Any], config: PretrainedConfig, **options: object) -> Any:
    """Build a transformers model on the meta device, for any default device, until its weights are read.

    Args:
        build: ``from_config`` of a transformers class.
        config: The architecture.
        options: Further arguments of ``build``.
    """
    with shapes_only(), set_zero3_state():  # ZeRO-3 shards the results of from_pretrained, not this
        return build(config, dtype=torch.float32, **options)


def read_model(
    cls: Any, folder: Path, what: str, *, exact: Callable[[str, Tensor], bool] = lambda name, shape: False, **options: object
) -> Any:
    """Read a transformers model with all its weights from a folder; :mod:`.reading` says in which dtype, on which device.

    Args:
        cls: A class with ``from_pretrained``.
        folder: A Hugging Face folder.
        what: Name of the model in errors, e.g. ``'the language model'``.
        exact: Tells from its name in its module and from its shape whether a parameter is read in float32 in any case.
        options: Further arguments of ``from_pretrained``.

    Raises:
        CheckpointError: if a file is missing or damaged, if weights are missing, of another shape, or not finite (under
            ZeRO-3, where no process holds them whole, the last is not looked at).
    """
    check_files(folder)
    reading = None if 'quantization_config' in options else current_reading()
    how = {'dtype': torch.float32, **options}
    if reading is not None and reading.device.type != 'cpu' and not is_deepspeed_zero3_enabled():
        how['device_map'] = {'': reading.device}
    # transformers gives each tensor of a file the dtype that its parameter has on the meta device; ZeRO-3 has no such step
    half = None if reading is None or reading.dtype == torch.float32 else reading.dtype
    with parameters_in(half, exact) if half is not None else nullcontext():
        model, report = cls.from_pretrained(folder, output_loading_info=True, **how)
    missing = sorted(report['missing_keys']) + sorted(map(str, report['mismatched_keys']))
    if missing:
        raise CheckpointError(f'{folder}: {len(missing)} weights of {what} are missing, e.g. {missing[0]}.')
    broken = [name for name, value in model.named_parameters() if not is_finite(value.detach())]
    if broken:
        raise CheckpointError(
            f'{folder}: {len(broken)} weights of {what} hold NaN or infinite numbers, e.g. {broken[0]}. Take another checkpoint.'
        )
    return model


def recompute_layers(decoder: Any) -> None:
    """Keep only the layers' inputs and recompute the rest in backward."""
    options = {'use_reentrant': False}
    if hasattr(decoder, 'activation_checkpointing_enable'):
        decoder.activation_checkpointing_enable(options)
    else:  # its name before 5.23
        decoder.gradient_checkpointing_enable(options)


def run_model(model: Any, keep: Tensor, *, cache: Cache | None = None, **inputs: Any) -> MLLMOutput:
    """Run a model: the states of the last layer, and logits (T, V) of those selected by ``keep``.

    Logits of all tokens would take more memory than the rest, so the head gets the selected states only. (The argument
    that transformers offers for this, ``logits_to_keep``, is a mask, and the host would have to wait for its positions.)

    Args:
        model: A transformers model with a head.
        keep: (T,) int64, row * L + position, or (R, L) bool.
        cache: Keys and values of earlier tokens, to which those of the inputs are added.
        inputs: The model's inputs.
    """
    states: list[Tensor] = []

    def select(head: nn.Module, arguments: tuple[Tensor]) -> tuple[Tensor]:
        states.append(arguments[0])
        return (arguments[0].flatten(0, 1)[keep.flatten()],)

    hook = model.get_output_embeddings().register_forward_pre_hook(select)
    try:
        out = model(**inputs, use_cache=cache is not None, **({} if cache is None else {_cache_name(model): cache}))
    finally:
        hook.remove()
    return MLLMOutput(states[0], out.logits)


def _cache_name(model: Any) -> str:
    """The argument for keys and values; 'cache' in later versions."""
    return 'cache' if 'cache' in inspect.signature(model.forward).parameters else 'past_key_values'


def takes_images(model: PreTrainedModel, accepted: set[str]) -> bool:
    """Whether a model of images and text accepts encoded images, see :func:`encoded_images`."""
    return 'mm_encoder_outputs' in accepted if TAKES_ENCODED else hasattr(model.model, 'get_image_features')


@contextmanager
def encoded_images(model: PreTrainedModel, images: Any) -> Iterator[dict[str, Any]]:
    """The arguments that pass encoded images to a model (None: no images), valid inside the ``with``.

    A model that does not accept them encodes pixels in a method of its own, which returns them here instead.
    """
    if images is None:
        yield {}
    elif TAKES_ENCODED:
        yield {'mm_encoder_outputs': {'image': images}}
    else:
        model.model.get_image_features = lambda *args, **kwargs: images
        try:
            yield {'pixel_values': torch.empty(1)}  # unused, but some models read its length
        finally:
            del model.model.get_image_features
