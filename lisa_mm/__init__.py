"""lisa_mm: reasoning segmentation from registered, swappable parts."""

from __future__ import annotations

from pathlib import Path

__version__ = '0.1.0'
__all__ = ['PACKAGE_DIR', '__version__', 'get_config']

PACKAGE_DIR = Path(__file__).parent


def get_config(name: str) -> Path:
    """The path of a config shipped with the package.

    Args:
        name: Path below ``configs/``, with or without ``.py``: ``'lisa/lisa_nano'``.

    Raises:
        FileNotFoundError: naming the available configs.
    """
    # An installed package holds a copy; a checkout has configs/ beside the package.
    for root in (PACKAGE_DIR / 'configs', PACKAGE_DIR.parent / 'configs'):
        path = (root / name).with_suffix('.py')
        if path.is_file():
            return path
    known = sorted(
        str(p.relative_to(root).with_suffix(''))
        for root in (PACKAGE_DIR / 'configs', PACKAGE_DIR.parent / 'configs')
        for p in root.glob('lisa/*.py')
    )
    raise FileNotFoundError(f'no config {name!r} ships with lisa_mm. There are: {", ".join(known)}')
