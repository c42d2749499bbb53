"""The recorded set: its version, seed and number of scenes. It imports nothing, so a command's help needs no OpenCV."""

from __future__ import annotations

from pathlib import Path

VERSION = 1
"""Increase it with every change of drawings or texts: folders of another version are rewritten."""

SEED = 7
COUNTS = {'train': 1500, 'val': 60, 'test': 120}
RECORDED_PRETRAIN = 200
PREFIX = 20
"""Number of scenes per split that the quick check redraws."""

SPLITS_FILE = Path(__file__).with_name('splits.json')
"""SHA-256 of every split, over all its scenes and over its first `PREFIX`."""
