"""Where and how the optimizer's steps are done."""

from __future__ import annotations

from .ddp import LisaDDPStrategy
from .deepspeed import LisaDeepSpeedStrategy
from .single_device import LisaSingleDeviceStrategy

__all__ = ['LisaDDPStrategy', 'LisaDeepSpeedStrategy', 'LisaSingleDeviceStrategy']
