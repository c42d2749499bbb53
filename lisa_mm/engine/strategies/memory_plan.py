"""The settings of a strategy that determine the memory of a training step."""

from __future__ import annotations

from dataclasses import dataclass

from lisa_mm.errors import ConfigError


class MemoryUnknownError(ConfigError):
    """A strategy that does not declare its memory plan; the strategy itself may be valid."""


@dataclass(frozen=True)
class MemoryPlan:
    """How a strategy shards parameters, gradients and optimizer state, and the precision of each.

    The defaults are DeepSpeed's.

    Args:
        stage: What the processes shard, in ZeRO's numbers: 0 nothing, 1 the optimizer state, 2 also gradients, 3 also
            parameters. None also shards nothing, and has none of DeepSpeed's copies and buckets.
        processes: Number of GPUs.
        half: Parameters and gradients in bfloat16 or float16, optimizer state in float32; otherwise all in float32.
        accumulation: Micro-batches per step.
        bucket: Elements of a gradient bucket.
        overlap: Use two such buckets.
        copied_gradients: Keep a second, flat copy of the gradients for communication, as in torch's
            ``DistributedDataParallel``.
        offload: What stays in CPU memory: None, 'optimizer' or 'all'.
        prefetch, reuse_distance: Stage 3's settings, in elements.
        device: 'cuda' or 'cpu': torch's AdamW updates all parameters at once on the former, one by one on the latter.
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
