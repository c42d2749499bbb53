"""What of a strategy matters for the memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError


@dataclass(frozen=True)
class Sharding:
    """What of a strategy matters for the memory.

    Args:
        stage: ZeRO stage, or None for one device without DeepSpeed.
        processes: GPUs.
        half: bf16 or fp16.
        accumulation: Micro-batches of a step.
        bucket: Elements of a bucket of gradients.
        overlap: With two such buckets.
        offload: None, 'optimizer' or 'all'.
        prefetch, reuse_distance, persistence: Stage 3's, in elements.
        device: 'cuda' or 'cpu': torch's AdamW goes through all parameters at once on the former, one by one on the latter.
    """

    stage: int | None
    processes: int = 1
    half: bool = False
    accumulation: int = 1
    bucket: int = 500_000_000
    overlap: bool = False
    offload: str | None = None
    prefetch: int = 50_000_000
    reuse_distance: int = 1_000_000_000
    persistence: int = 100_000
    device: str = 'cuda'

    @classmethod
    def from_config(
        cls, strategy: Mapping[str, Any] | None, *, processes: int, micro_batch: int, device: str = 'cuda'
    ) -> Sharding:
        """Of a compiled config's ``strategy``.

        Raises:
            ConfigError: for a strategy that is not known here, or one that does not go with so many processes.
        """
        from ..engine.strategies.batch import resolve_accumulation

        strategy = dict(strategy or {'type': 'LisaSingleDeviceStrategy' if processes == 1 else 'LisaDeepSpeedStrategy'})
        kind = strategy.get('type')
        if kind not in ('LisaSingleDeviceStrategy', 'LisaDeepSpeedStrategy'):
            raise ConfigError(f'the memory of strategy.type={kind!r} is not known; of LisaDeepSpeedStrategy it is.')
        accumulation = resolve_accumulation(
            accumulation=strategy.get('accumulation'),
            target_batch=strategy.get('target_batch'),
            micro_batch=micro_batch,
            world_size=processes,
        )
        if kind == 'LisaSingleDeviceStrategy':
            if processes > 1:
                raise ConfigError(
                    f'LisaSingleDeviceStrategy is for one GPU, not {processes}: set strategy.type=LisaDeepSpeedStrategy.'
                )
            return cls(None, accumulation=accumulation, device=device)
        stage, options = int(strategy.get('zero_stage', 2)), dict(strategy.get('zero_options') or {})
        overlap = options.get('overlap_comm')
        return cls(
            stage,
            processes=processes,
            half=bool(strategy.get('bf16') or strategy.get('fp16')),
            accumulation=accumulation,
            bucket=int(options.get('reduce_bucket_size', cls.bucket)),
            overlap=stage == 3 if overlap is None else bool(overlap),
            offload=strategy.get('offload'),
            prefetch=int(options.get('stage3_prefetch_bucket_size', cls.prefetch)),
            reuse_distance=int(options.get('stage3_max_reuse_distance', cls.reuse_distance)),
            persistence=int(options.get('stage3_param_persistence_threshold', cls.persistence)),
            device=device,
        )
