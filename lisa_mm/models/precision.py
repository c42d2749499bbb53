"""Tensors that stay in float32 when a model is cast to bfloat16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from segment_anything.modeling.prompt_encoder import PositionEmbeddingRandom
from torch import Tensor, nn

from ..sharding import gathered


class Float32Buffers(nn.Module):
    """A module whose own float32 buffers keep their precision under ``.bfloat16()`` and ``.half()``; they still move with it."""

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> Float32Buffers:
        exact = {name: value for name, value in self._buffers.items() if value is not None and value.dtype == torch.float32}
        super()._apply(fn, *args, **kwargs)
        for name, value in exact.items():
            cast = self._buffers[name]
            if cast is not None and cast.dtype != torch.float32:
                self._buffers[name] = value.to(cast.device)
        return self


def keep_float32(module: nn.Module, name: str) -> None:
    """Make a module's tensor a buffer that keeps its precision, as in :class:`Float32Buffers`; its state key stays.

    Args:
        module: The module; its class becomes a subclass of both.
        name: A buffer, or a parameter that is never trained. A parameter sharded by ZeRO-3 is gathered.
    """
    value = getattr(module, name)
    with gathered(value) as whole:
        exact = whole.detach().float().clone()
    module._parameters.pop(name, None)
    module.register_buffer(name, exact)
    cls = type(module)
    module.__class__ = type(f'Float32{cls.__name__}', (Float32Buffers, cls), {})


class Float32PositionEmbedding(Float32Buffers, PositionEmbeddingRandom):
    """SAM's positional encoding, always computed in float32: sines of large phases are meaningless in bfloat16."""

    @classmethod
    def of(cls, layer: PositionEmbeddingRandom) -> Float32PositionEmbedding:
        """The same encoding as ``layer``, without drawing random numbers."""
        own = cls.__new__(cls)
        nn.Module.__init__(own)
        own.register_buffer('positional_encoding_gaussian_matrix', layer.positional_encoding_gaussian_matrix)  # pyright: ignore[reportArgumentType] - a buffer
        return own
