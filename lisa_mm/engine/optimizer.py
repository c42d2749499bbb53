"""Checks of an optimizer's config that need no optimizer."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.logging import MMLogger
from mmengine.registry import OPTIM_WRAPPERS, OPTIMIZERS
from torch import nn

from lisa_mm.errors import ConfigError, nearest
from lisa_mm.registry import check_arguments

from .mmengine_parts import PARTS

MISPLACED = {'clip_grad': 'gradient_clipping', 'accumulative_counts': 'accumulation'}
# of mmengine's DefaultOptimWrapperConstructor, which silently ignores all other keys
PARAMWISE = (
    'custom_keys',
    'bias_lr_mult',
    'bias_decay_mult',
    'norm_decay_mult',
    'flat_decay_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
)
MULTIPLIERS = ('lr_mult', 'decay_mult')


def optim_wrapper_faults(optim_wrapper: Mapping[str, Any], wrapper_type: str, strategy: str) -> list[str]:
    """Faults: settings that do not suit the strategy, and unknown keys.

    Args:
        optim_wrapper: The config's optimizer wrapper.
        wrapper_type: The wrapper that the strategy uses.
        strategy: Name of the strategy.
    """
    faults = [
        f'optim_wrapper.{key} is {optim_wrapper[key]!r}: give strategy.{ours} instead.'
        for key, ours in MISPLACED.items()
        if key in optim_wrapper
    ]
    given = optim_wrapper.get('type')
    if given not in (None, wrapper_type):
        faults.append(f'optim_wrapper.type is {given!r}, but strategy.type {strategy} works with {wrapper_type!r}. Leave it out.')
        part = PARTS.get(str(given))
        faults += [f'optim_wrapper.type: {part.why}.'] if part is not None and not part.works else []
    allowed = {'type', 'optimizer', 'paramwise_cfg', 'constructor'}
    allowed |= set(inspect.signature(OPTIM_WRAPPERS.get(wrapper_type)).parameters)  # pyright: ignore[reportArgumentType] - registered
    for key in optim_wrapper:
        if key not in allowed and key not in MISPLACED:
            faults.append(f'optim_wrapper has no {key!r}.{nearest(key, allowed)}')
    return faults


def optimizer_faults(optim_wrapper: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Faults of the optimizer and of learning rates by part.

    Args:
        optim_wrapper: The config's optimizer wrapper.
        names: Names of all parameters of the model; empty if there is no model yet.
    """
    optimizer = dict(optim_wrapper.get('optimizer') or {})
    name = optimizer.pop('type', None)
    cls = OPTIMIZERS.get(name) if isinstance(name, str) else name
    if cls is None:
        hint = nearest(str(name), [key for key in OPTIMIZERS.module_dict if key[0].isupper()])
        return [f'optim_wrapper.optimizer.type is {name!r}, which is no registered optimizer.{hint}']
    try:
        check_arguments(cls, {'params': [], **optimizer}, 'optim_wrapper.optimizer')
        cls([nn.Parameter(torch.zeros(1, device='cpu'))], **optimizer)
    except ConfigError as error:
        return list(error.faults)
    except (TypeError, ValueError) as error:
        return [f'optim_wrapper.optimizer: {name} does not take {optimizer}: {error}.']
    return [] if optim_wrapper.get('constructor') else paramwise_faults(optim_wrapper.get('paramwise_cfg') or {}, names)


def paramwise_faults(paramwise: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Faults: learning rates by part that match no parameter."""
    where, names = 'optim_wrapper.paramwise_cfg', list(names)
    faults = [f'{where} has no {key!r}.{nearest(key, PARAMWISE)}' for key in paramwise if key not in PARAMWISE]
    parts = {'.'.join(name.split('.')[:depth]) for name in names for depth in (1, 2, 3)}
    custom = paramwise.get('custom_keys') or {}
    if not isinstance(custom, Mapping) or not all(isinstance(rates, Mapping) for rates in custom.values()):
        example = "dict(mask_decoder=dict(lr_mult=0.1)), on a command line {'mask_decoder': {'lr_mult': 0.1}}"
        return [*faults, f'{where}.custom_keys is {custom!r}: give {example}.']
    for key, rates in custom.items():
        if names and not any(key in name for name in names):
            faults.append(f'{where}.custom_keys: {key!r} is in the name of no parameter of the model.{nearest(key, parts)}')
        for multiplier, value in rates.items():
            spot = f'{where}.custom_keys.{key}'
            if multiplier not in MULTIPLIERS:
                faults.append(f'{spot} has no {multiplier!r}.{nearest(multiplier, MULTIPLIERS)}')
            elif isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                faults.append(f'{spot}.{multiplier} is {value!r}; it must be a number >= 0.')
    return faults


@contextmanager
def without_parameter_lines() -> Iterator[None]:
    """Suppress the log lines that mmengine's constructor writes for each parameter.

    With rates by part, it warns about each frozen parameter and logs each setting of each trained one: hundreds of lines that
    hide any real warning. ``ParametersHook`` logs the same as one table.
    """

    def is_other(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not (text.startswith('paramwise_options -- ') or text.endswith('is skipped since its requires_grad=False'))

    logger = MMLogger.get_current_instance()
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def joined_groups(groups: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Join the trained parameters into one group per distinct setting.

    With rates by part, mmengine's constructor makes every parameter a group, and DeepSpeed then flattens, reduces, clips
    and updates each one separately.
    """
    joined: list[dict[str, Any]] = []
    for group in groups:
        trained = [parameter for parameter in group['params'] if parameter.requires_grad]
        settings = {key: value for key, value in group.items() if key != 'params'}
        same = next((one for one in joined if {**one, 'params': None} == {**settings, 'params': None}), None)
        if same is not None:
            same['params'] += trained
        elif trained:
            joined.append({'params': trained, **settings})
    return joined


def rate_of(name: str, optim_wrapper: Mapping[str, Any]) -> float:
    """A parameter's full learning rate: the longest custom key in its name decides, as in mmengine."""
    keys = (optim_wrapper.get('paramwise_cfg') or {}).get('custom_keys') or {}
    base = float((optim_wrapper.get('optimizer') or {}).get('lr', 0.0))
    found = next((key for key in sorted(sorted(keys), key=len, reverse=True) if key in name), None)
    return base * float(keys[found].get('lr_mult', 1.0)) if found else base
