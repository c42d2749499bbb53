"""Features on disk: damage, several writers, kills, eviction, folders that cannot be written."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lisa_mm.datasets import feature_store
from lisa_mm.datasets.feature_store import Entry, FeatureStore, default_folder
from lisa_mm.errors import ConfigError, UserError

A, B = 'aa' * 16, 'bb' * 16
ENCODER = 'e' * 16


def entry(seed: int = 0, size: int = 8) -> Entry:
    generator = torch.Generator().manual_seed(seed)
    maps = {
        'features': torch.randn(4, size, size, generator=generator),
        'early': torch.randn(size, generator=generator).bfloat16(),
    }
    return Entry(maps, {'features': 'float32', 'early': 'float32'}, (37, 53), (44, 64))


def same(found: Entry | None, expected: Entry) -> bool:
    return (
        found is not None
        and found.maps.keys() == expected.maps.keys()
        and all(
            torch.equal(found.maps[name], value) and found.maps[name].dtype == value.dtype
            for name, value in expected.maps.items()
        )
        and (found.given, found.original_size, found.resized_size)
        == (expected.given, expected.original_size, expected.resized_size)
    )


@pytest.fixture
def store(tmp_path):
    return FeatureStore(tmp_path / 'store', 2**30)


def test_read_is_what_was_written(store):
    assert store.read(ENCODER, A) is None and not store.has(ENCODER, A)
    store.write(ENCODER, A, entry())
    assert same(store.read(ENCODER, A), entry()) and store.has(ENCODER, A)
    assert store.read(ENCODER, B) is None and store.read('f' * 16, A) is None
    store.write(ENCODER, A, entry(1))
    assert same(store.read(ENCODER, A), entry(1))


def cut(data: bytes) -> bytes:
    return data[:-3]


def flip_number(data: bytes) -> bytes:
    return data[:-5] + bytes([data[-5] ^ 4]) + data[-4:]


def flip_size(data: bytes) -> bytes:
    assert b'[37, 53]' in data
    return data.replace(b'[37, 53]', b'[39, 53]')


def flip_length(data: bytes) -> bytes:
    return bytes([data[0] ^ 64]) + data[1:]


@pytest.mark.parametrize('damage', [cut, flip_number, flip_size, flip_length, lambda data: b'', lambda data: b'x' * 50])
def test_damaged_files_are_removed(store, damage, capsys):
    store.write(ENCODER, A, entry())
    path = store.path(ENCODER, A)
    path.write_bytes(damage(path.read_bytes()))
    assert store.read(ENCODER, A) is None
    assert not path.exists()
    store.write(ENCODER, A, entry())
    assert same(store.read(ENCODER, A), entry())


def test_a_safetensors_file_of_somebody_else_is_damaged_too(store):
    path = store.path(ENCODER, A)
    path.parent.mkdir(parents=True)
    save_file({'features': torch.zeros(2)}, path)
    assert store.read(ENCODER, A) is None and not path.exists()


def test_what_does_not_fit_the_number_format_is_refused(store):
    half = Entry({'features': torch.tensor([1e6]).half()}, {'features': 'float32'}, (1, 1), (1, 1))
    with pytest.raises(UserError, match=r"not finite in float16 .*dtype='bfloat16'"):
        store.write(ENCODER, A, half)
    assert not store.has(ENCODER, A)


def age(store: FeatureStore, *images: str) -> None:
    for number, image in enumerate(images):
        os.utime(store.path(ENCODER, image), (1000 + number, 1000 + number))


def test_the_least_recently_used_go_first(tmp_path):
    images = [f'{number:02x}' * 16 for number in range(6)]
    size = 4 * 100 * 100 * 4
    first = FeatureStore(tmp_path, 2**30)
    for number, image in enumerate(images[:5]):
        first.write(ENCODER, image, entry(number, 100))
    age(first, *images[:5])
    store = FeatureStore(tmp_path, int(5.5 * size))
    assert store.read(ENCODER, images[0]) is not None  # used again
    store.write(ENCODER, images[5], entry(5, 100))
    assert [store.has(ENCODER, image) for image in images] == [True, False, True, True, True, True]


def test_what_is_in_use_stays_and_the_store_stops(tmp_path, capsys):
    images = [f'{number:02x}' * 16 for number in range(6)]
    store = FeatureStore(tmp_path, int(2.5 * 4 * 100 * 100 * 4))
    for number, image in enumerate(images):
        store.write(ENCODER, image, entry(number, 100))
    assert [store.has(ENCODER, image) for image in images] == [True, True, False, False, False, False]
    assert store.stopped and 'is full' in store.stopped and 'max_gib' in store.stopped


def test_a_part_of_the_disk_stays_free(tmp_path, monkeypatch):
    usage = type('Usage', (), {'total': 2000, 'free': 101, 'used': 0})
    monkeypatch.setattr(feature_store.shutil, 'disk_usage', lambda folder: usage)
    store = FeatureStore(tmp_path, 2**30)
    store.write(ENCODER, A, entry())
    assert not store.has(ENCODER, A) and store.stopped and 'is full' in store.stopped


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_folder_that_cannot_be_written_is_read_on(store, monkeypatch, number):
    store.write(ENCODER, A, entry())

    def refuse(*args, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(feature_store.os, 'replace', refuse)
    store.write(ENCODER, B, entry())
    assert store.stopped and os.strerror(number) in store.stopped
    assert [path.name for path in store.folder.rglob('*.*') if path.is_file()] == [store.path(ENCODER, A).name]
    monkeypatch.setattr(feature_store.os, 'utime', refuse)
    assert same(store.read(ENCODER, A), entry())


def test_unfinished_files_of_killed_processes_are_removed(tmp_path):
    store = FeatureStore(tmp_path, 2**30)
    folder = store.path(ENCODER, A).parent
    folder.mkdir(parents=True)
    for name, age in (('.old.tmp', 7200), ('.new.tmp', 0)):
        (folder / name).write_bytes(b'x')
        os.utime(folder / name, (time.time() - age, time.time() - age))
    store.write(ENCODER, A, entry())
    assert sorted(path.name for path in folder.iterdir()) == ['.new.tmp', store.path(ENCODER, A).name]


WRITER = textwrap.dedent("""
    import sys, torch
    from lisa_mm.datasets.feature_store import Entry, FeatureStore
    store = FeatureStore(sys.argv[1], 2**30)
    print('begun', flush=True)
    for turn in range(int(sys.argv[2])):
        for number in range(20):
            maps = {'features': torch.full((64, 64, 64), float(number))}
            store.write('e' * 16, f'{number:02x}' * 16, Entry(maps, {'features': 'float32'}, (1, 1), (1, 1)))
""")


def start_writer(folder: Path, turns: int) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, '-c', WRITER, str(folder), str(turns)], stdout=subprocess.PIPE, text=True)


def check_all(store: FeatureStore, least: int) -> None:
    files = [file for file in store.files() if file.name.endswith('.safetensors')]
    assert len(files) >= least
    for file in files:
        assert store.read(ENCODER, file.name.partition('.')[0]) is not None
        (values,) = load_file(file.path).values()
        assert (values == int(file.name[:2], 16)).all()


@pytest.mark.slow
def test_a_writer_killed_in_the_middle_leaves_whole_entries(tmp_path):
    writer = start_writer(tmp_path, 10_000)
    assert writer.stdout
    writer.stdout.readline()
    while not list(tmp_path.rglob('*.safetensors')):
        time.sleep(0.01)
    time.sleep(0.3)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    writer.stdout.close()
    check_all(FeatureStore(tmp_path, 2**30), 1)


@pytest.mark.slow
def test_two_processes_write_the_same_entries(tmp_path):
    writers = [start_writer(tmp_path, 3) for _ in range(2)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    check_all(FeatureStore(tmp_path, 2**30), 20)
    assert not list(tmp_path.rglob('*.tmp'))


def test_the_default_folder(monkeypatch, tmp_path):
    monkeypatch.setenv('LISA_MM_CACHE', str(tmp_path))
    assert default_folder() == tmp_path / 'features'
    monkeypatch.setenv('LISA_MM_CACHE', 'off')
    with pytest.raises(ConfigError, match='folder=DIR'):
        default_folder()
    monkeypatch.delenv('LISA_MM_CACHE')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert default_folder() == tmp_path / 'lisa_mm' / 'features'


def test_what_this_store_wrote_is_never_older_than_the_store(tmp_path):
    """The kernel's clock ticks every few milliseconds, so that a file could seem to be left by an earlier run."""
    for number in range(200):
        store = FeatureStore(tmp_path, 2**30)
        store.write(ENCODER, A, entry(number, 1))
        assert store.path(ENCODER, A).stat().st_mtime_ns >= store._began
        began = time.time_ns()
        assert store.read(ENCODER, A) is not None
        assert store.path(ENCODER, A).stat().st_mtime_ns >= began
