"""How a model is trained: loop, strategies, schedule, sampler, hooks."""

from __future__ import annotations

from . import hooks, registries
from .launch import detect_launcher
from .loops import IterTrainLoop
from .runner import LisaRunner
from .sampler import SeekableSampler
from .schedules import WarmupDecayLR
from .strategies import LisaDDPStrategy, LisaDeepSpeedStrategy, LisaSingleDeviceStrategy

__all__ = [
    'IterTrainLoop',
    'LisaDDPStrategy',
    'LisaDeepSpeedStrategy',
    'LisaRunner',
    'LisaSingleDeviceStrategy',
    'SeekableSampler',
    'WarmupDecayLR',
    'detect_launcher',
    'hooks',
    'registries',
]
