"""Language models in 4 or 8 bits (QLoRA), by bitsandbytes; not run: it needs a GPU."""

from __future__ import annotations

import importlib.util
import inspect
from typing import Any

import torch
from transformers import BitsAndBytesConfig

from ...errors import ConfigError, nearest

_WHERE = 'language_model.quantization'


def quantization_options(quantization: dict[str, Any], *, pretrained: str | None, shapes_only: bool) -> dict[str, Any]:
    """Arguments of ``from_pretrained`` for a quantised model.

    Args:
        quantization: Arguments of ``transformers.BitsAndBytesConfig``: ``load_in_4bit``, ``bnb_4bit_quant_type``, ...
        pretrained: The weights that are quantised.
        shapes_only: The model is not going to be read: the arguments are checked, GPU and bitsandbytes are not needed.

    Raises:
        ConfigError: for an unknown argument, or where it cannot run.
    """
    known = {name for name in inspect.signature(BitsAndBytesConfig).parameters if name != 'kwargs'}
    unknown = [key for key in quantization if key not in known]
    if unknown:
        raise ConfigError([f'{_WHERE} has no {key!r}.{nearest(key, known)}' for key in unknown])
    if bool(quantization.get('load_in_4bit')) == bool(quantization.get('load_in_8bit')):
        raise ConfigError(f'{_WHERE}: set one of load_in_4bit=True, load_in_8bit=True.')
    if pretrained is None:
        raise ConfigError(f'{_WHERE} quantises the weights of a folder: give language_model.pretrained.')
    if shapes_only:
        return {}
    lacking = [
        what
        for what, there in (
            ('a CUDA GPU', torch.cuda.is_available()),
            ('the package bitsandbytes', importlib.util.find_spec('bitsandbytes') is not None),
        )
        if not there
    ]
    if lacking:
        raise ConfigError(f'{_WHERE} needs {" and ".join(lacking)}, not found here. Leave it out to train unquantised LoRA.')
    config = BitsAndBytesConfig(**{'bnb_4bit_compute_dtype': torch.bfloat16, **quantization})
    return {'quantization_config': config, 'device_map': {'': torch.cuda.current_device()}, 'dtype': torch.bfloat16}
