"""All changes this package makes to other libraries, each with its reason. Look here first after upgrading one of them.

Importing this module changes nothing: each function is called at the moment it is due, most of them by the DeepSpeed strategy.

| changed | where | why |
|---|---|---|
| mmengine's import of DeepSpeed | :func:`defer_deepspeed`, :func:`load_deepspeed` | every runner would load it |
| mmengine's list of DeepSpeed's optimizers | :func:`register_todays_optimizers` | it imports classes that are gone |
| when DeepSpeed compiles functions of Muon | :func:`load_deepspeed` | every start of a training would load torch's compiler |
| DeepSpeed's choice of compiled operations | :func:`leave_out_shm_op` | a minute of compiling |
| torch's linear function, which ZeRO-3 replaces for good | :func:`linear_given_back` | later models of the process |
| what ZeRO-3 sees of seg heads, mask decoders and losses | :func:`same_on_all_processes` | it stops where processes differ |
| what DeepSpeed sends to all processes on a CPU | :func:`equal_weights_kept` | each would copy the weight files' pages |
| the class of a transformers module | :func:`lisa_mm.models.precision.keep_float32` | a cast would round its buffers |

The last one is with the models, which may not import the engine; it changes one object, never transformers' own class.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor, nn

from lisa_mm.models.base import BaseMaskDecoder, BaseSegHead

from .sending import send_weights


def defer_deepspeed() -> None:
    """Import mmengine's runner without DeepSpeed, which it loads whatever strategy runs; :func:`load_deepspeed` brings it back.

    Without effect where one of the two is loaded already.
    """
    if 'deepspeed' in sys.modules or 'mmengine.runner' in sys.modules:
        return
    # these import transformers, which asks whether DeepSpeed is installed and remembers the answer
    for name in ('mmengine.hooks', 'mmengine.model', 'mmengine.optim'):
        importlib.import_module(name)
    sys.modules['deepspeed'] = None  # pyright: ignore[reportArgumentType] - an import of it fails, as if it were not installed
    try:
        importlib.import_module('mmengine.runner')
    finally:
        del sys.modules['deepspeed']


def load_deepspeed() -> None:
    """Import DeepSpeed, also for mmengine's strategy.

    Its ZeRO optimizers import Muon whatever the optimizer is, and Muon hands functions to ``torch.compile`` on import, which
    loads the compiler (seconds). Here they are compiled when they are first called.
    """
    import deepspeed
    import mmengine._strategy.deepspeed as mmengine_deepspeed
    from deepspeed.runtime import compiler

    mmengine_deepspeed.deepspeed = deepspeed
    compiler.compile = lambda: _compiled_when_called


def _compiled_when_called(function: Callable[..., Any]) -> Callable[..., Any]:
    compiled: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def run(*arguments: object, **named: object) -> Any:
        if torch.compiler.is_compiling():  # called by another compiled function, which takes it in
            return function(*arguments, **named)
        if not compiled:
            compiled.append(torch.compile(function))
        return compiled[0](*arguments, **named)

    return run


@contextmanager
def linear_given_back() -> Iterator[None]:
    """Around a run: ZeRO-3 replaces ``torch.nn.functional.linear`` for all later models of the process too."""
    linear = torch.nn.functional.linear
    try:
        yield
    finally:
        torch.nn.functional.linear = linear


def register_todays_optimizers() -> None:
    """Let mmengine's DeepSpeed strategy register the optimizers that DeepSpeed has today.

    mmengine's own function imports optimizers that DeepSpeed has removed, and fails when a process builds a second strategy,
    because they are already registered.
    """
    import mmengine._strategy.deepspeed as mmengine_deepspeed

    mmengine_deepspeed.register_deepspeed_optimizers = _register_optimizers


def _register_optimizers() -> list[str]:
    from deepspeed.ops.adam import DeepSpeedCPUAdam, FusedAdam

    for optimizer in (DeepSpeedCPUAdam, FusedAdam):
        OPTIMIZERS.register_module(module=optimizer, force=True)
    return ['DeepSpeedCPUAdam', 'FusedAdam']


def leave_out_shm_op() -> None:
    """Tell DeepSpeed that its shared-memory collective cannot be built here, before it sets up processes.

    On a CPU it would spend a minute compiling the operation, although gloo does the same work without it.
    """
    import deepspeed

    deepspeed.ops.__compatible_ops__['deepspeed_shm_comm'] = False


@contextmanager
def equal_weights_kept() -> Iterator[None]:
    """Wraps DeepSpeed's initialisation on a CPU, which writes the first process's weights over those of the others.

    Where both are equal, nothing is written: memory-mapped weights stay the pages of the file that all processes share.
    """
    import deepspeed.runtime.engine as deepspeed_engine

    broadcast = deepspeed_engine.DeepSpeedEngine._broadcast_model

    def send(engine: Any) -> None:
        send_weights(engine.module)

    deepspeed_engine.DeepSpeedEngine._broadcast_model = send  # pyright: ignore[reportAttributeAccessIssue] - its only argument is positional
    try:
        yield
    finally:
        deepspeed_engine.DeepSpeedEngine._broadcast_model = broadcast


class _Shapes:
    """Shapes, hidden from DeepSpeed's hooks."""

    def __init__(self, pieces: list[Tensor]):
        self.shapes = [piece.shape for piece in pieces]


@contextmanager
def same_on_all_processes(model: nn.Module) -> Iterator[None]:
    """Wraps ZeRO-3's initialisation, so that processes may differ in rows and in images with masks.

    DeepSpeed traces which modules run, forwards and backwards, and stops if two processes disagree
    (``runtime/zero/partitioned_param_coordinator.py``). Two traced things depend on the batch:

    - Losses run once per image with masks. They have no parameters, so their collection becomes a leaf, which DeepSpeed does not
      trace into.
    - A seg head returns one tensor per row, a mask decoder one per image, and each would be a step of the backward:
      they leave the module as one tensor and are split after DeepSpeed's hooks.

    Args:
        model: The model that DeepSpeed is about to wrap; the forwards of its seg heads and mask decoders are replaced.
    """
    from deepspeed.utils import set_z3_leaf_module

    for module in model.modules():
        if isinstance(module, (nn.ModuleDict, nn.ModuleList)) and next(module.parameters(), None) is None:
            set_z3_leaf_module(module, True)
    parts = [module for module in model.modules() if isinstance(module, (BaseSegHead, BaseMaskDecoder))]
    for part in parts:
        part.forward = _joining(part.forward)  # pyright: ignore[reportAttributeAccessIssue] - its hook takes the tensor apart
    yield
    # registered last, so that it runs after DeepSpeed's hooks
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
