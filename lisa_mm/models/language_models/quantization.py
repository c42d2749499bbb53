"""Language models in 4 or 8 bits (QLoRA), by bitsandbytes."""

from __future__ import annotations

import importlib.util
import inspect
import math
from typing import Any

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel
from transformers.integrations import is_deepspeed_zero3_enabled

from ...errors import ConfigError, nearest

_WHERE = 'language_model.quantization'


def check_quantization(quantization: dict[str, Any], *, pretrained: str | None) -> None:
    """Compare arguments with those there are; bitsandbytes is not needed for it.

    Args:
        quantization: Arguments of ``transformers.BitsAndBytesConfig``: ``load_in_4bit``, ``bnb_4bit_quant_type``, ...
        pretrained: The weights that are quantised.

    Raises:
        ConfigError: for an unknown argument, both kinds or none, or no weights.
    """
    known = {name for name in inspect.signature(BitsAndBytesConfig).parameters if name != 'kwargs'}
    unknown = [key for key in quantization if key not in known]
    if unknown:
        raise ConfigError([f'{_WHERE} has no {key!r}.{nearest(key, known)}' for key in unknown])
    if bool(quantization.get('load_in_4bit')) == bool(quantization.get('load_in_8bit')):
        raise ConfigError(f'{_WHERE}: set one of load_in_4bit=True, load_in_8bit=True.')
    if pretrained is None:
        raise ConfigError(f'{_WHERE} quantises the weights of a folder: give language_model.pretrained.')


def quantization_options(quantization: dict[str, Any]) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for a quantised model.

    Args:
        quantization: As :func:`check_quantization` took them.

    Raises:
        ConfigError: where it cannot run.
    """
    if is_deepspeed_zero3_enabled():
        raise ConfigError(f'{_WHERE} does not go with ZeRO stage 3, which would cut quantised weights. Take ZeRO stage 2 or 1.')
    if importlib.util.find_spec('bitsandbytes') is None:
        raise ConfigError(
            f'{_WHERE} needs the package bitsandbytes, not found here: pip install bitsandbytes. '
            'Leave it out to train unquantised LoRA.'
        )
    config = BitsAndBytesConfig(**{'bnb_4bit_compute_dtype': torch.bfloat16, **quantization})
    place = torch.cuda.current_device() if torch.cuda.is_available() else 'cpu'
    # embeddings, norms and head as everywhere here in float32: the strategy says in what a step computes
    return {'quantization_config': config, 'device_map': {'': place}, 'dtype': torch.float32}


def tell_peft(model: PreTrainedModel) -> None:
    """Adapters go into the decoder, which does not know that it was quantised: peft asks it, and would take other layers."""
    for name in ('is_loaded_in_4bit', 'is_loaded_in_8bit'):
        if getattr(model, name, False):
            setattr(model.get_decoder(), name, True)


def bytes_saved(decoder: nn.Module, quantization: dict[str, Any], element: int) -> int:
    """Bytes that the decoder's quantised weights take less than unquantised ones.

    bitsandbytes keeps 4 bits of a weight and a scale for each 64 weights: float32, or with ``bnb_4bit_use_double_quant`` one byte
    and a float32 for each 256 scales. 8 bits have a float32 scale for each row.

    Args:
        decoder: Built for its shapes; its frozen linear layers are the ones that are quantised.
        quantization: Of the config.
        element: Bytes of an unquantised weight.
    """
    saved = 0
    for module in decoder.modules():
        if type(module) is not nn.Linear or module.weight.requires_grad:
            continue
        weights = module.weight.numel()
        if quantization.get('load_in_8bit'):
            stored = weights + 4 * module.out_features
        else:
            scales = math.ceil(weights / 64)
            double = quantization.get('bnb_4bit_use_double_quant')
            stored = math.ceil(weights / 2) + (scales + 4 * math.ceil(scales / 256) if double else 4 * scales)
        saved += element * weights - stored
    return saved
