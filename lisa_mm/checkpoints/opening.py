"""The door to our own folders: what training saves, and what an import or export writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import CheckpointError
from .exported import is_exported, load_exported, read_export
from .folder import CONFIG, check_checkpoint, find_checkpoint, load_weights, read_meta
from .for_hooks import Weights
from .sources import WeightFiles


@dataclass(frozen=True)
class TrainingCheckpoint:
    """A checkpoint of a training: the weights that it trains, and perhaps the state to resume from.

    Args:
        folder: ``iter_N`` or ``best_*_iter_N``.
    """

    folder: Path

    @property
    def meta(self) -> dict[str, Any]:
        """Its ``meta.json``: iteration, best score, ZeRO stage, number of processes."""
        return read_meta(self.folder)

    @property
    def config(self) -> Path | None:
        """The config of the training, beside the weights or in the work folder; None if it was not kept."""
        return _config_near(self.folder)

    def check(self) -> None:
        """Raise a CheckpointError if a file is missing or cut off; reads no weights."""
        check_checkpoint(self.folder)

    def load_into(
        self,
        model: nn.Module,
        *,
        frozen: dict[str, dict] | None = None,
        change: Callable[[Weights], object] | None = None,
    ) -> Weights:
        """Load the trained weights; frozen ones must be those of the training.

        Args:
            model: With ``requires_grad`` as in the training; sharded (ZeRO-3) or not.
            frozen: The model's frozen parts as :func:`.folder.describe_frozen` gives them, if known already.
            change: Called with the weights before they are copied into the model; it may replace some.

        Returns:
            The weights as they went into the model.

        Raises:
            CheckpointError: naming every kind of difference with the first few names.
        """
        return load_weights(model, self.folder, frozen=frozen, change=change)


@dataclass(frozen=True)
class ExportedModel:
    """A folder that holds a whole model, or whole parts of one.

    Args:
        folder: With ``export.json``.
    """

    folder: Path

    @property
    def meta(self) -> dict[str, Any]:
        """Its ``export.json``: where it came from, which parts it holds, the id of ``[SEG]``."""
        return read_export(self.folder)

    @property
    def config(self) -> Path | None:
        """The config that builds the model."""
        return _config_near(self.folder)

    def check(self) -> None:
        """Raise a CheckpointError if a file is missing or cut off; reads no weights."""
        read_export(self.folder)
        WeightFiles(self.folder).close()

    def load_into(self, model: nn.Module, *, whole: bool = True) -> list[str]:
        """Load its tensors; adapters of the model begin anew. See :func:`.exported.load_exported`.

        Args:
            model: Sharded (ZeRO-3) or not.
            whole: Every part of the model must be in the folder.

        Returns:
            The parts that are not in the folder and stay as they were.

        Raises:
            CheckpointError: naming every kind of difference with the first few names.
        """
        return load_exported(model, self.folder, whole=whole)


def open_checkpoint(path: str | Path, *, prefer: str = 'last') -> TrainingCheckpoint | ExportedModel:
    """What a user calls a checkpoint: a checkpoint folder, a work folder of training, or an exported folder.

    Args:
        path: The folder.
        prefer: In a work folder, ``'last'`` takes the checkpoint to resume from, ``'best'`` the best validated one if there is
            any.

    Raises:
        CheckpointError: if there is none, or for a file of weights.
    """
    found = find_checkpoint(path, prefer=prefer)
    if found.is_file():
        raise CheckpointError(
            f'{found} is a single file, not a checkpoint folder of this project. Convert it first (tools/convert_checkpoint.py).'
        )
    return ExportedModel(found) if is_exported(found) else TrainingCheckpoint(found)


def _config_near(folder: Path) -> Path | None:
    return next((place / CONFIG for place in (folder, folder.parent) if (place / CONFIG).is_file()), None)
