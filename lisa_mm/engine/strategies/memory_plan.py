"""The settings of a strategy that determine the memory of a training step."""

from __future__ import annotations

from dataclasses import dataclass

from lisa_mm.errors import ConfigError


class MemoryUnknownError(ConfigError):
    """A strategy that does not say what determines its memory; it may be right all the same."""


@dataclass(frozen=True)
class MemoryPlan:
    """How a strategy divides parameters, gradients and the optimizer's state, and in what precision it keeps them.

    The defaults are DeepSpeed's.

    Args:
        stage: What the processes divide, in ZeRO's numbers: 0 nothing, 1 the optimizer's state, 2 the gradients too, 3 the
            parameters too. None is nothing as well, without DeepSpeed's own copies and buckets.
        processes: GPUs.
        half: Parameters and gradients in bfloat16 or float16, the optimizer's state in float32; else all in float32.
        accumulation: Micro-batches of a step.
        bucket: Elements of a bucket of gradients.
        overlap: With two such buckets.
        copied_gradients: The gradients have a second, flat copy for communication all the time, as in torch's
            ``DistributedDataParallel``.
        offload: What is kept in the CPU's memory: None, 'optimizer' or 'all'.
        prefetch, reuse_distance: Stage 3's, in elements.
        device: 'cuda' or 'cpu': torch's AdamW goes through all parameters at once on the former, one by one on the latter.
    """

    stage: int | None
    processes: int = 1
    half: bool = False
    accumulation: int = 1
    bucket: int = 500_000_000
    overlap: bool = False
    copied_gradients: bool = False
    offload: str | None = None
    prefetch: int = 50_000_000
    reuse_distance: int = 1_000_000_000
    device: str = 'cuda'
