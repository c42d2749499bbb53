"""A whole copy of the model on every process, for evaluation only."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lisa_mm.registry import STRATEGIES

from .ddp import LisaDDPStrategy


@STRATEGIES.register_module()
class LisaEvaluationStrategy(LisaDDPStrategy):
    """Leaves the model on its device; the processes share the data and gather their results.

    Args:
        kwargs: Arguments of mmengine's ``BaseStrategy``; the runner gives them.
    """

    def _setup_env(self, *, launcher: str | None = None, dist_cfg: dict | None = None, **kwargs: Any) -> None:
        # a single process needs no group and may run several evaluations
        super(LisaDDPStrategy, self)._setup_env(launcher=launcher or 'none', dist_cfg=dist_cfg, **kwargs)

    def _setup_distributed(self, launcher: str = 'pytorch', backend: str | None = None, **kwargs: Any) -> None:
        if not torch.distributed.is_initialized():
            super()._setup_distributed(launcher, backend, **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        return model
