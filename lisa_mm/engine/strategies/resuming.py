"""The state to resume from: what a strategy writes beside the weights, and what it takes back.

One format for every number of processes, ZeRO stage and strategy. With the same ones a resumed run is equal to the bit; with
others the optimizer, the schedules and the order of the samples go on exactly, and the random generators begin anew.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from mmengine.dist import broadcast_object_list
from torch import Tensor

from lisa_mm.checkpoints import folder as folders
from lisa_mm.checkpoints.optimizer_state import SavedOptimizer, group_fault, write_optimizer
from lisa_mm.engine.rng import rng_state, seed_rng, set_rng_state
from lisa_mm.engine.schedules import saved_states
from lisa_mm.errors import CheckpointError
from lisa_mm.models.weight_files import pickle_fault

from .batch import describe_batch
from .optimizer_tensors import ELEMENTWISE, group_settings, optimizer_type, restore_settings

if TYPE_CHECKING:
    from .base import FolderCheckpointMixin

COMMON, HASH = 'common.pt', 'optimizer_sha256'


def write_state(
    strategy: FolderCheckpointMixin, folder: Path, *, message_hub: Any, hooks: dict[str, Any], schedules: bool
) -> str:
    """Write a checkpoint's ``state``; all processes must call it.

    Args:
        strategy: The strategy.
        folder: The existing ``state``.
        message_hub: Curves, in plain types and tensors.
        hooks: What hooks keep, likewise.
        schedules: Include the schedules.

    Returns:
        The sha256 of the optimizer's tensors; empty on all processes but the first.
    """
    main = strategy.rank == 0
    tensors = strategy.optimizer_tensors()
    torch.save({'rng': rng_state(), 'optimizer': tensors.own_part()}, folder / f'rank_{strategy.rank}.pt')
    if main:
        groups = zip(strategy.group_names(), group_settings(tensors.optimizer), strict=True)
        optimizer = {
            'type': optimizer_type(tensors.optimizer),
            'groups': [{'names': names, **settings} for names, settings in groups],
            'loss_scale': strategy.loss_scale(),
        }
        states = None
        if schedules and hasattr(strategy, 'param_schedulers'):
            states = saved_states(strategy.param_schedulers, strategy.scheduler_state_dict())
        common = {'param_schedulers': states, 'optimizer': optimizer, 'message_hub': message_hub, 'hooks': hooks}
        torch.save(common, folder / COMMON)
    return write_optimizer(folder, tensors, keep=main)


def read_common(folder: Path) -> dict[str, Any]:
    """What all processes have in common, of a checkpoint folder."""
    common = _load(folder / folders.STATE / COMMON)
    if 'optimizer' not in common:
        raise CheckpointError(
            f'{folder} was written by an earlier version, whose state this one does not read. {_remedy(folder)}'
        )
    return common


def check_resumable(strategy: FolderCheckpointMixin, folder: Path, common: dict[str, Any], meta: dict[str, Any]) -> None:
    """Refuse a state that this run cannot take over, and say what will not be as in an undisturbed run.

    Raises:
        CheckpointError: for another optimizer, other trained parameters, or a division that the optimizer does not bear.
    """
    saved, tensors = common['optimizer'], strategy.optimizer_tensors()
    kind = optimizer_type(tensors.optimizer)
    if saved['type'] != kind:
        raise CheckpointError(
            f'{folder} has the state of {saved["type"]}; the optimizer of this run is {kind}. '
            f'Set optim_wrapper.optimizer.type to {saved["type"].rpartition(".")[2]!r}. {_remedy(folder)}'
        )
    fault = group_fault(saved['groups'], strategy.group_names())
    if fault is not None:
        raise CheckpointError(f'{folder} has an optimizer state that does not fit this run: {fault}. {_remedy(folder)}')
    before, here = (meta['zero_stage'], meta['world_size']), (strategy.zero_stage, strategy.world_size)
    if before == here:
        return
    if _division(*before) != _division(*here) and kind not in ELEMENTWISE:
        raise CheckpointError(
            f'{folder} was written with {_describe(*before)}, this run has {_describe(*here)}, and {kind} cannot go from one to '
            f'the other: it is not known to update each weight on its own. Use the same ones. {_remedy(folder)}'
        )
    strategy.logger.info(
        f'from {_describe(*before)} to {_describe(*here)}: the optimizer and the order of the samples go on exactly'
    )


def describe_other_batch(strategy: FolderCheckpointMixin, meta: dict[str, Any]) -> str | None:
    """What another batch than the checkpoint's changes; None for the same."""
    micro, steps, processes = meta['micro_batch'], meta['accumulation'], meta['world_size']
    own = strategy.micro_batch, strategy.accumulation * strategy.world_size
    if own == (micro, steps * processes):
        return None
    before = describe_batch(micro_batch=micro, accumulation=steps, world_size=processes)
    here = describe_batch(micro_batch=strategy.micro_batch, accumulation=strategy.accumulation, world_size=strategy.world_size)
    if micro * steps * processes == strategy.samples_per_step:
        change = 'a loss is the mean over the tokens and masks of a micro-batch, so losses and gradients differ a little'
    else:
        change = 'a step sees another number of samples, so learning rate and number of steps mean something else'
    return f'the checkpoint was trained with {before}; this run has {here}. No sample is repeated or left out, but {change}.'


def restore_state(
    strategy: FolderCheckpointMixin, folder: Path, common: dict[str, Any], meta: dict[str, Any], weights: Mapping[str, Tensor]
) -> None:
    """Take over the optimizer's state.

    Args:
        strategy: The strategy.
        folder: The checkpoint.
        common: Of :func:`read_common`.
        meta: The contents of the checkpoint's ``meta.json``.
        weights: What went into the model, in float32.

    Raises:
        CheckpointError: for a missing or damaged file.
    """
    state = folder / folders.STATE
    _on_first(strategy, lambda: SavedOptimizer(state, meta.get(HASH)))
    tensors, saved = strategy.optimizer_tensors(), common['optimizer']
    tensors.restore_masters(_half_weights(strategy, weights))
    tensors.restore(SavedOptimizer(state, None))
    changed = restore_settings(tensors.optimizer, saved['groups'])
    if changed:
        strategy.logger.warning(f"the optimizer goes on with the checkpoint's settings, not the config's: {'; '.join(changed)}")
    strategy.restore_loss_scale(saved['loss_scale'])
    before, here = (meta['zero_stage'], meta['world_size']), (strategy.zero_stage, strategy.world_size)
    if _division(*before) == _division(*here):
        part = strategy.rank if strategy.rank < meta['world_size'] else 0  # the same in each where nothing is divided
        tensors.restore_own_part(_load(state / f'rank_{part}.pt')['optimizer'])


def restore_generators(strategy: FolderCheckpointMixin, folder: Path, meta: dict[str, Any]) -> None:
    """Go on with the random generators of as many processes, or begin new ones."""
    if meta['world_size'] == strategy.world_size:
        set_rng_state(_load(folder / folders.STATE / f'rank_{strategy.rank}.pt')['rng'])
        return
    seed_rng((strategy.seed or 0) + 7919 * meta['iter'] + strategy.rank)
    strategy.logger.warning(
        f'{meta["world_size"]} processes wrote the checkpoint and {strategy.world_size} go on: dropout draws other numbers than '
        'in an undisturbed run.'
    )


def _half_weights(strategy: FolderCheckpointMixin, weights: Mapping[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Half-precision parameters with their float32 values."""
    for name, value in folders.split_state(strategy.module)[0].items():
        if value.requires_grad and value.dtype in (torch.bfloat16, torch.float16):
            yield value, weights[name]


def _on_first(strategy: FolderCheckpointMixin, check: Any) -> None:
    """Run a check on the first process alone; its error is raised on all."""
    found: list[str | None] = [None]
    if strategy.rank == 0:
        try:
            check()
        except CheckpointError as error:
            found = [str(error)]
    broadcast_object_list(found)
    if found[0] is not None:
        raise CheckpointError(found[0])


def _division(stage: int | None, processes: int) -> tuple[int, int] | None:
    """What decides how ZeRO divides the optimizer; None where each process has all of it."""
    return (3 if stage == 3 else 1, processes) if stage else None


def _describe(stage: int | None, processes: int) -> str:
    strategy = 'no DeepSpeed' if stage is None else f'ZeRO stage {stage}'
    return f'{strategy} on {processes} process{"es" if processes > 1 else ""}'


def _load(path: Path) -> dict[str, Any]:
    try:
        # weights-only: a checkpoint from elsewhere must not run code
        return torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, ValueError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f'{path} cannot be read ({pickle_fault(error)}). Resume from another checkpoint, '
            f'or start anew from its weights with load_from={path.parent.parent}.'
        ) from None  # a traceback would show torch's advice to run a file's code


def _remedy(folder: Path) -> str:
    return f'To train on from its weights with a new optimizer state, give load_from={folder} instead of resume.'
