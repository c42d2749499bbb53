"""Named drawings on photographs: thousands of words for small models to learn, from only two downloaded packages."""

from __future__ import annotations

from .stickers import Sticker, read_stickers
from .writer import write_scenes

__all__ = ['Sticker', 'read_stickers', 'write_scenes']
