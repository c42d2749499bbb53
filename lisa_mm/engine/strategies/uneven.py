"""Micro-batches that differ between the processes of ZeRO-3: in images with masks, in rows.

DeepSpeed follows which modules run, forwards and backwards, and stops if two processes disagree
(``runtime/zero/partitioned_param_coordinator.py``). Two things it follows depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from deepspeed.utils import set_z3_leaf_module
from torch import Tensor, nn

from lisa_mm.models.base import BaseMaskDecoder, BaseSegHead


class _Shapes:
    """Shapes, out of sight of DeepSpeed's hooks."""

    def __init__(self, pieces: list[Tensor]):
        self.shapes = [piece.shape for piece in pieces]


@contextmanager
def same_on_all_processes(model: nn.Module) -> Iterator[None]:
    """Around DeepSpeed's initialisation, so that the batch does not show in what it follows.

    - Losses run once an image with masks. They have no parameters, so their collection is a leaf, which it does not look into.
    - A seg head returns one tensor a row, a mask decoder one an image, and each would be a step of the module's backward: they
      leave the module as one tensor, and are taken apart behind its hooks.
    """
    for module in model.modules():
        if isinstance(module, (nn.ModuleDict, nn.ModuleList)) and next(module.parameters(), None) is None:
            set_z3_leaf_module(module, True)
    parts = [module for module in model.modules() if isinstance(module, (BaseSegHead, BaseMaskDecoder))]
    for part in parts:
        part.forward = _joining(part.forward)
    yield
    for part in parts:
        part.register_forward_hook(_take_apart)


def _joining(forward: Callable[..., list[Tensor]]) -> Callable[..., tuple[Tensor, _Shapes]]:
    def forward_and_join(*arguments: object, **named: object) -> tuple[Tensor, _Shapes]:
        pieces = forward(*arguments, **named)
        return torch.cat([piece.flatten() for piece in pieces]), _Shapes(pieces)

    return forward_and_join


def _take_apart(part: nn.Module, arguments: object, output: tuple[Tensor, _Shapes]) -> list[Tensor]:
    joined, shapes = output[0], output[1].shapes
    return [piece.view(shape) for piece, shape in zip(joined.split([shape.numel() for shape in shapes]), shapes, strict=True)]
