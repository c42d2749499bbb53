"""Strategies: where and how optimizer steps run."""

from __future__ import annotations

from .ddp import LisaDDPStrategy
from .deepspeed import LisaDeepSpeedStrategy
from .evaluation import LisaEvaluationStrategy
from .memory_plan import MemoryPlan
from .single_device import LisaSingleDeviceStrategy

__all__ = ['LisaDDPStrategy', 'LisaDeepSpeedStrategy', 'LisaEvaluationStrategy', 'LisaSingleDeviceStrategy', 'MemoryPlan']
