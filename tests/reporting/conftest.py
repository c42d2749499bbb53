"""Two models' results, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from .making import make_two


@pytest.fixture(scope='session')
def two(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Folders of two models; tests must not write there."""
    return make_two(tmp_path_factory.mktemp('two'))
