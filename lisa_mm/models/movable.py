"""Groups of tensors that move together."""

from __future__ import annotations

from dataclasses import Field, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor


class Movable:
    """A dataclass whose tensors move together."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def to(self, device: torch.device, *, pin: bool = False) -> Any:
        """A copy with all tensors, including those of nested movables, on a device.

        Args:
            device: The target.
            pin: Copy through pinned memory, so that the host need not wait.
        """
        moved = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                moved[field.name] = (value.pin_memory() if pin else value).to(device, non_blocking=True)
            elif isinstance(value, Movable):
                moved[field.name] = value.to(device, pin=pin)
        return replace(self, **moved)
