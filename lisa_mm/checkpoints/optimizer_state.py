"""An optimizer's state by the names of the model's parameters: independent of processes, ZeRO stage and strategy.

``state/optimizer.safetensors`` holds a tensor ``<key>/<parameter>`` for each tensor of the state:

```
exp_avg/head.weight      (3, 8)   one value per weight, in the parameter's shape
exp_avg_sq/head.weight   (3, 8)
step/head.weight         ()       a number; of type int64 where the optimizer keeps an int
```

The float32 weights that they belong to are in ``weights.safetensors``. ``meta.json`` has the file's sha256.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from ..errors import CheckpointError
from .checked_file import CheckedFile
from .comparing import first_names
from .safetensors_writer import write_file
from .sources import TensorInfo

OPTIMIZER = 'optimizer.safetensors'


class OptimizerTensors(Protocol):
    """The state of a running optimizer, however its strategy stores it; all processes call each method together."""

    def info(self) -> dict[str, TensorInfo]:
        """Shape and dtype of every tensor ``<key>/<parameter>``, whole; the same on all processes."""
        ...

    def read(self, entry: str) -> Tensor:
        """One whole tensor, on the CPU."""
        ...

    def restore(self, saved: SavedOptimizer) -> None:
        """Replace the state by a saved one."""
        ...


def write_optimizer(state_folder: Path, tensors: OptimizerTensors, *, keep: bool) -> str:
    """Write the optimizer's tensors, gathered one at a time.

    Args:
        state_folder: The checkpoint's ``state``.
        tensors: The optimizer's.
        keep: Whether this process writes; the others join in the gathering.

    Returns:
        The file's sha256; empty without ``keep``.
    """
    return write_file(state_folder / OPTIMIZER, tensors.info(), tensors.read, keep=keep)


class SavedOptimizer:
    """The optimizer's tensors in a checkpoint.

    Args:
        state_folder: The checkpoint's ``state``.
        sha256: Hash of the file that was written; None where another process has compared it.

    Raises:
        CheckpointError: if the file is missing or damaged.
    """

    def __init__(self, state_folder: Path, sha256: str | None):
        path = state_folder / OPTIMIZER
        try:
            self._file = CheckedFile(path, sha256)
        except CheckpointError as error:
            raise CheckpointError(
                f'{error} Or train on from the weights of this one with a new optimizer: give load_from={state_folder.parent} '
                'instead of resume.'
            ) from error
        self.keys: dict[str, list[str]] = {}  # of each parameter
        shapes: dict[str, set[tuple[int, ...]]] = {}
        for entry, info in self._file.info.items():
            key, _, name = entry.partition('/')
            self.keys.setdefault(name, []).append(key)
            shapes.setdefault(key, set()).add(info.shape)
        # of parameters with dimensions and without, so only a key that is () everywhere is a number
        self.numbers = {key for key, found in shapes.items() if found == {()}}
        self.per_weight = [key for key in shapes if key not in self.numbers]

    def read(self, name: str, *, numbers: bool) -> Iterator[tuple[str, Tensor]]:
        """Key and tensor of one parameter's state, which has none if it never had a gradient; keep copies only.

        Args:
            name: The parameter.
            numbers: Whether to give its numbers, or what has one value per weight.
        """
        for key in self.keys.get(name, []):
            if (key in self.numbers) == numbers:
                yield key, self._file.read(f'{key}/{name}')


def group_fault(saved: Sequence[Mapping[str, Any]], own: Sequence[Sequence[str]]) -> str | None:
    """How the parameter groups of a checkpoint and of this run differ; None if they are the same.

    Args:
        saved: Groups with their ``names``.
        own: Names of each group.
    """
    before = {name: number for number, group in enumerate(saved) for name in group['names']}
    here = {name: number for number, names in enumerate(own) for name in names}
    lost, added = sorted(before.keys() - here.keys()), sorted(here.keys() - before.keys())
    faults = []
    if lost:
        faults.append(f'the checkpoint trained {len(lost)} that this run does not: {first_names(lost)}')
    if added:
        faults.append(f'this run trains {len(added)} that the checkpoint did not: {first_names(added)}')
    moved = sorted(name for name in before.keys() & here.keys() if before[name] != here[name])
    if not faults and moved:
        faults.append(
            f'{len(moved)} are in another parameter group, so optim_wrapper.paramwise_cfg is another: {first_names(moved)}'
        )
    return '; '.join(faults) or None
