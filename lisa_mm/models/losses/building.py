"""The losses of a model, by name."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from ...errors import ConfigError
from ...registry import LOSSES

LOSS_NAMES = {'ce': 'loss_ce', 'bce': 'loss_mask_bce', 'dice': 'loss_mask_dice'}


def loss_name(key: str) -> str:
    """The name in the log for a key of ``model.losses``."""
    return LOSS_NAMES.get(key, f'loss_{key}')


def build_losses(losses: Mapping[str, Any]) -> nn.ModuleDict:
    """Build the losses of ``model.losses`` that are not None.

    Raises:
        ConfigError: if there is no loss, if two have one name in the log, or for a loss with an outdated interface.
    """
    built = {key: LOSSES.build(loss) for key, loss in losses.items() if loss is not None}
    if not built:
        raise ConfigError("model.losses is empty. Give at least one, e.g. losses=dict(ce=dict(type='CrossEntropyLoss')).")
    names: dict[str, str] = {}
    for key, loss in built.items():
        name = loss_name(key)
        if name in names:
            raise ConfigError(f'model.losses has {names[name]!r} and {key!r}, and the log would name both {name}. Rename one.')
        names[name] = key
        if list(inspect.signature(type(loss).forward).parameters)[1:3] == ['logits', 'targets']:
            raise ConfigError(
                f'model.losses.{key}: {type(loss).__name__}.forward takes logits and targets; a loss takes outputs and '
                'data_samples. Make a loss of masks a subclass of lisa_mm.models.losses.MaskLoss and rename its forward to '
                "mask_loss; one of words finds outputs['word_logits'] and outputs['word_targets']."
            )
    return nn.ModuleDict(built)
