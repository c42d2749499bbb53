"""The recorded set: its version, seed and number of scenes. Imports nothing, so that a command's help needs no OpenCV."""

from __future__ import annotations

from pathlib import Path

VERSION = 1
"""Raise it with every change of drawings or texts: folders of another version are written anew."""

SEED = 7
COUNTS = {'train': 1500, 'val': 60, 'test': 120}
RECORDED_PRETRAIN = 200
PREFIX = 20
"""Scenes per split that the quick check draws again."""

SPLITS_FILE = Path(__file__).with_name('splits.json')
"""SHA-256 of every split, of all its scenes and of its first `PREFIX`."""
