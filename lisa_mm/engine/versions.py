"""Versions of the libraries that decide figures."""

from __future__ import annotations

import platform
from importlib import metadata

LIBRARIES = ('lisa_mm', 'torch', 'deepspeed', 'mmengine', 'transformers', 'peft', 'numpy', 'pillow', 'pycocotools')


def library_versions() -> dict[str, str]:
    """Version of Python and of each library that is installed, by name."""
    found = {'python': platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
