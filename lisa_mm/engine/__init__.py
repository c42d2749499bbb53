"""Training: loop, strategies, schedule, sampler, hooks."""

from __future__ import annotations

from .patches import defer_deepspeed

defer_deepspeed()  # before the first import of mmengine.runner

from . import hooks, registries
from .evaluation_loop import EvaluationLoop
from .launch import detect_launcher
from .loops import IterTrainLoop
from .runner import LisaRunner
from .sampler import SeekableSampler
from .schedules import WarmupDecayLR
from .strategies import LisaDDPStrategy, LisaDeepSpeedStrategy, LisaEvaluationStrategy, LisaSingleDeviceStrategy

__all__ = [
    'EvaluationLoop',
    'IterTrainLoop',
    'LisaDDPStrategy',
    'LisaDeepSpeedStrategy',
    'LisaEvaluationStrategy',
    'LisaRunner',
    'LisaSingleDeviceStrategy',
    'SeekableSampler',
    'WarmupDecayLR',
    'detect_launcher',
    'hooks',
    'registries',
]
