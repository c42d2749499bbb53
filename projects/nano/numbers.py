"""A check of the numbers given to these programs."""

from __future__ import annotations

from lisa_mm.errors import UserError


def check_at_least(least: int, **numbers: int) -> None:
    """Refuse numbers that are too small.

    Args:
        least: The smallest number allowed.
        numbers: Numbers by argument name.

    Raises:
        UserError: naming the first number that is smaller.

    >>> check_at_least(1, train=2, val=0)
    Traceback (most recent call last):
    lisa_mm.errors.UserError: val=0: at least 1 is needed.
    """
    for name, number in numbers.items():
        if number < least:
            raise UserError(f'{name}={number}: at least {least} is needed.')
