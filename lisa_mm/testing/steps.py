"""Steps of a check, each of which reports its faults as sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ..errors import UserError


class PartError(AssertionError):
    """A part that breaks its role's contract; one sentence per fault."""


def run_steps(name: str, steps: Mapping[str, Callable[[], Iterable[str]]]) -> list[str]:
    """Run steps in order up to the first with faults.

    Args:
        name: Name of the part, for errors.
        steps: Steps by title.

    Returns:
        The titles of the steps.

    Raises:
        PartError: with the faults of a step.
    """
    for number, (title, step) in enumerate(steps.items(), 1):
        where = f'{name}, step {number} ({title}):'
        try:
            faults = list(step())
        except UserError as error:
            faults = [str(error)]
        except Exception as error:
            raise PartError(f'{where} {type(error).__name__}: {error}') from error
        if faults:
            raise PartError('\n- '.join([where, *faults]))
    return list(steps)
