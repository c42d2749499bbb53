"""Data sets whose files change while a training runs, or between two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lisa_mm.datasets.mixture import MixtureDataset

_SHOWN = 5


def parts_of(dataset: Any) -> list[Any]:
    """The data sets in a mixture, or in mmengine's wrappers; a plain one itself."""
    return [part for _, part in grouped_parts(dataset)]


def grouped_parts(dataset: Any, group: str | None = None) -> list[tuple[str | None, Any]]:
    """As :func:`parts_of`, each with its group in the mixture; None outside a mixture."""
    if isinstance(dataset, MixtureDataset):
        return [pair for name, members in dataset.groups.items() for member in members for pair in grouped_parts(member, name)]
    inner = getattr(dataset, 'datasets', None)
    if inner is None:
        inner = [dataset.dataset] if hasattr(dataset, 'dataset') else []
    return [pair for entry in inner for pair in grouped_parts(entry, group)] if inner else [(group, dataset)]


def loaded_states(dataset: Any) -> list[list[str]]:
    """Title and fingerprint (names, sizes and times) of the annotation files, for each data set that knows them."""
    known = [(part, getattr(part, 'loaded_state', None)) for part in parts_of(dataset)]
    return [[part.title, state.fingerprint] for part, state in known if state is not None]


def changed_since_loaded(dataset: Any) -> str | None:
    """A sentence about files that have changed since the data sets were loaded; None if none has."""
    found = [file for part in parts_of(dataset) if hasattr(part, 'changed_files') for file in part.changed_files()]
    if not found:
        return None
    more = f' and {len(found) - _SHOWN} more' if len(found) > _SHOWN else ''
    return (
        f'Files of the data set have changed since it was loaded: {", ".join(map(str, found[:_SHOWN]))}{more}. The training goes '
        'by what was loaded; a new run reads them anew.'
    )


def changed_since_saved(dataset: Any, saved: Sequence[Sequence[str]] | None) -> str | None:
    """A sentence about data sets that are not as in the run that wrote a checkpoint; None if they are, or it does not say.

    Args:
        dataset: The data set of the training.
        saved: :func:`loaded_states` from the checkpoint.
    """
    if saved is None:
        return None
    before, now = ([tuple(state) for state in states] for states in (saved, loaded_states(dataset)))
    other = sorted({title for title, _ in set(before) ^ set(now)})
    if not other:
        return None
    return (
        f'the annotation files of {", ".join(other)} are not those of the run that wrote the checkpoint (names, sizes or times '
        'differ). If their content differs too, other samples follow than without the interruption.'
    )
