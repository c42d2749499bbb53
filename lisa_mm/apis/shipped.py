"""Models that are inside the package: their names stand for their folders."""

from __future__ import annotations

from pathlib import Path

from .. import PACKAGE_DIR
from ..errors import UserError, nearest

SHIPPED: dict[str, Path] = {'lisa_nano': PACKAGE_DIR / 'weights' / 'lisa_nano'}


def find_model(name_or_path: str | Path) -> Path:
    """The folder of a shipped model, or the path as it is given.

    A file or folder of that name in the current folder goes before the shipped model.

    Args:
        name_or_path: A name in :data:`SHIPPED`, or any path.

    Raises:
        UserError: for a name that is neither.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    name = str(name_or_path)
    if name in SHIPPED:
        return SHIPPED[name]
    raise UserError(
        f'{name} does not exist: give a config and a checkpoint, one work folder, one exported folder, or the name of a shipped '
        f'model.{nearest(name, SHIPPED)}'
    )
