"""Describe where a checkpoint does not fit a model."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ..sharding import full_shape
from .sources import TensorInfo

_SHOWN = 5


def trained_faults(trained: dict[str, torch.Tensor], tensors: Mapping[str, TensorInfo]) -> list[str]:
    """Compare a model's trained weights with the ``tensors`` of a checkpoint, by name and shape."""
    shapes = {name: full_shape(target) for name, target in trained.items()}
    missing = sorted(set(shapes) - set(tensors))
    unexpected = sorted(set(tensors) - set(shapes))
    reshaped = [
        f'{name} (checkpoint {tuple(tensors[name].shape)}, model {shape})'
        for name, shape in sorted(shapes.items())
        if name in tensors and tuple(tensors[name].shape) != shape
    ]
    faults = []
    if missing:
        faults.append(f'missing: the model trains {len(missing)} that the checkpoint does not hold: {first_names(missing)}')
    if unexpected:
        faults.append(
            f'unexpected: the checkpoint holds {len(unexpected)} that the model does not train: {first_names(unexpected)}'
        )
    if reshaped:
        faults.append(f'of another shape: {first_names(reshaped)}')
    return faults


def frozen_faults(own: dict[str, dict], recorded: dict[str, dict]) -> list[str]:
    """Compare a model's frozen weights with those recorded in a checkpoint, by shape and hash."""
    differing = []
    for name in sorted(set(own) & set(recorded)):
        if own[name]['shape'] != recorded[name]['shape']:
            differing.append(name)
            continue
        ours, theirs = own[name]['sha256'], recorded[name]['sha256']
        # without a common dtype (float16 against bfloat16) the values cannot be compared
        if any(ours[dtype] != theirs[dtype] for dtype in ours.keys() & theirs.keys()):
            differing.append(name)
    missing, unexpected = sorted(set(own) - set(recorded)), sorted(set(recorded) - set(own))
    faults = []
    if differing:
        part = _common_module(differing)
        faults.append(
            f'the frozen {part} is another one than the checkpoint was trained on: '
            f'{len(differing)} tensors differ: {first_names(differing)}. '
            'Use the pretrained weights of that training.'
        )
    if missing:
        faults.append(f'the model has {len(missing)} frozen tensors that the training had not: {first_names(missing)}')
    if unexpected:
        faults.append(f'the training had {len(unexpected)} frozen tensors that the model has not: {first_names(unexpected)}')
    return faults


def _common_module(names: list[str]) -> str:
    """The longest dotted path with which all names start."""
    shared = []
    for pieces in zip(*(name.split('.')[:-1] for name in names), strict=False):
        if len(set(pieces)) > 1:
            break
        shared.append(pieces[0])
    return '.'.join(shared) or 'part'


def first_names(names: list[str]) -> str:
    """The first few of many names, for a message."""
    return ', '.join(names[:_SHOWN]) + (f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else '')
