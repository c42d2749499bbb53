"""Language models in 4 or 8 bits (QLoRA), with bitsandbytes."""

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
    """Check the arguments' names and values; this does not need bitsandbytes.

    Args:
        quantization: Arguments of ``transformers.BitsAndBytesConfig``: ``load_in_4bit``, ``bnb_4bit_quant_type``, ...
        pretrained: The weights to quantise.

    Raises:
        ConfigError: for an unknown argument, both bit widths or neither, or no weights.
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
        quantization: Arguments that :func:`check_quantization` accepted.

    Raises:
        ConfigError: if bitsandbytes cannot run here.
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
    # embeddings, norms and head in float32, as everywhere here: the strategy sets the precision of a step
    return {'quantization_config': config, 'device_map': {'': place}, 'dtype': torch.float32}


def tell_peft(model: PreTrainedModel) -> None:
    """Mark the decoder as quantised: adapters go into it, and peft would otherwise choose other layers."""
    for name in ('is_loaded_in_4bit', 'is_loaded_in_8bit'):
        if getattr(model, name, False):
            setattr(model.get_decoder(), name, True)


def bytes_saved(decoder: nn.Module, quantization: dict[str, Any], element: int) -> int:
    """Bytes saved by the decoder's quantised weights.

    bitsandbytes keeps 4 bits per weight and a scale per 64 weights: float32, or with ``bnb_4bit_use_double_quant`` one byte
    and a float32 per 256 scales. 8 bits have a float32 scale per row.

    Args:
        decoder: Built for its shapes; its frozen linear layers are quantised.
        quantization: The config's setting.
        element: Bytes per unquantised weight.
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
