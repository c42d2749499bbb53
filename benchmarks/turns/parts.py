"""Split the seconds or operations of a step by the parts of the model."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

REST = 'masks, losses and the rest'


class Parts:
    """Splits what a counter counts by the part that runs.

    In backward, a part runs from the moment when the gradient of its output is there until that of the next part's is.

    Args:
        read: Reads the counter, which only grows.
    """

    def __init__(self, read: Callable[[], float]):
        self.read = read
        self.spent: dict[str, float] = defaultdict(float)
        self.part = REST
        self.since = read()

    def enter(self, part: str) -> None:
        """From now on, this part runs."""
        now = self.read()
        self.spent[self.part] += now - self.since
        self.part, self.since = part, now

    @contextmanager
    def watching(self, model: Any) -> Iterator[None]:
        """Follow a LISA's parts inside the ``with``."""
        handles = [handle for name, module in modules_of(model) for handle in self._hooks(name, module)]
        self.since = self.read()
        try:
            yield
        finally:
            self.enter(REST)
            for handle in handles:
                handle.remove()

    def _hooks(self, name: str, module: nn.Module) -> list[Any]:
        outer: list[str] = []

        def begin(*_: object) -> None:
            outer.append(self.part)
            self.enter(name)

        def end(_module: nn.Module, _inputs: object, output: object) -> None:
            self.enter(outer.pop())
            for tensor in tensors_of(output):
                if tensor.requires_grad:
                    tensor.register_hook(lambda _: self.enter(name))

        return [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]


def modules_of(model: Any) -> list[tuple[str, nn.Module]]:
    """The parts of a LISA by name; a name may have several."""
    mllm, language = model.mllm, model.mllm.language_model.model
    return [
        ('vision tower', mllm.vision_tower),
        ('vision tower', mllm.projector),
        ('language model', language.get_decoder()),
        ('logits of words', language.get_output_embeddings()),
        ('seg head', model.seg_head),
        ("SAM's image encoder", model.mask_decoder.image_encoder),
        ('mask decoder', model.mask_decoder),
    ]


def tensors_of(output: Any) -> Iterator[Tensor]:
    """The tensors in the output of a module."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, dict):
        yield from tensors_of(list(output.values()))
    elif isinstance(output, (list, tuple)):
        for one in output:
            yield from tensors_of(one)


def _attention(query: Any, key: Any, value: Any, *_: object, **__: object) -> int:
    return sdpa_flop_count(query, key, value)


def _attention_backward(gradient: Any, query: Any, key: Any, value: Any, *_: object, **__: object) -> int:
    return sdpa_backward_flop_count(gradient, query, key, value)


def operations() -> FlopCounterMode:
    """torch's counter of floating-point operations, with the CPU's fused attention, which torch leaves out."""
    attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    return FlopCounterMode(display=False, custom_mapping={attention: _attention, backward: _attention_backward})


def matmul_rate(size: int) -> float:
    """Operations per second of this machine in a product of two square float32 matrices, the best of five."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    torch.matmul(a, b)
    best = float('inf')
    for _ in range(5):
        began = time.perf_counter()
        torch.matmul(a, b)
        best = min(best, time.perf_counter() - began)
    return 2 * size**3 / best
