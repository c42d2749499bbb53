"""The device of a model, and a GPU's precision for float32 products."""

from __future__ import annotations

import torch

from lisa_mm.errors import ConfigError


def choose_device(device: str | torch.device | None = None) -> torch.device:
    """The device of that name; for None, the GPU if there is one, otherwise the CPU.

    Raises:
        ConfigError: for an unknown name, or a GPU that does not exist.
    """
    if device is None:
        return torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise ConfigError(f"device is {device!r}; give 'cpu', 'cuda' or 'cuda:1', or leave it out.") from error
    if found.type == 'cuda':
        if not torch.cuda.is_available():
            raise ConfigError(f"device is {device!r}, but torch finds no GPU here. Give 'cpu', or leave it out.")
        if found.index is not None and found.index >= torch.cuda.device_count():
            raise ConfigError(
                f"device is {device!r}, but there are {torch.cuda.device_count()} GPUs: 'cuda:0' to "
                f"'cuda:{torch.cuda.device_count() - 1}'."
            )
    return found


def describe_device(device: torch.device, dtype: str) -> str:
    """One line for the log.

    Example:
        >>> describe_device(torch.device('cpu'), 'float32')
        'float32 on cpu'
    """
    if device.type != 'cuda':
        return f'{dtype} on {device}'
    tf32 = f', TF32 {"on" if torch.backends.cudnn.allow_tf32 else "off"}' if dtype == 'float32' else ''
    return f'{dtype} on {device} ({torch.cuda.get_device_name(device)}{tf32})'


def set_tf32(on: bool) -> None:
    """Turn TF32 (10 mantissa bits) on or off for float32 products and convolutions on a GPU.

    Torch leaves it on for convolutions and off for products, so "float32" means two things in one model: the patches of CLIP
    and SAM would have three digits, everything after them seven. All supported versions have this interface, unlike
    ``fp32_precision`` of torch 2.9; the two must not be mixed.
    """
    torch.backends.cuda.matmul.allow_tf32 = on
    torch.backends.cudnn.allow_tf32 = on
