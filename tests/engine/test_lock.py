"""One run for a work folder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lisa_mm.engine import lock as locks
from lisa_mm.engine.lock import LOCK, locked, refuse_lost_lock
from lisa_mm.engine.processes import is_gone, process_mark
from lisa_mm.errors import WorkFolderError


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(locks, 'BEAT', 0.1)
    monkeypatch.setattr(locks, 'WATCH', 0.5)
    monkeypatch.setattr(locks, 'STALE', 1.0)


@pytest.fixture
def other():
    """A process that lives."""
    process = subprocess.Popen(['sleep', '600'])
    yield process
    process.kill()
    process.wait()


def mark_of(pid: int, **change) -> dict:
    started = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]
    return {**process_mark(), 'pid': pid, 'started': started, 'since': 'noon', 'command': 'train it', 'token': 'x', **change}


def put(folder: Path, mark: object) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / LOCK
    path.write_text(json.dumps(mark))
    return path


def fork(work) -> int:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work()
        finally:
            os._exit(status)
    return child


def status_of(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_the_lock_names_its_owner_and_is_given_back(tmp_path):
    folder = tmp_path / 'runs' / 'one'
    with locked(folder):
        mark = json.loads((folder / LOCK).read_text())
        assert mark['pid'] == os.getpid() and 'python' in mark['command'] and mark['host']
        with locked(folder):  # the runner inside tools/train.py
            pass
        assert (folder / LOCK).exists()
        refuse_lost_lock(folder)
    assert not (folder / LOCK).exists()


def test_it_is_given_back_on_errors(tmp_path):
    with pytest.raises(ValueError, match='any'), locked(tmp_path):
        raise ValueError('any')
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_process_of_a_run_takes_it(tmp_path):
    with locked(tmp_path, owner=False):
        assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_refused(tmp_path, other):
    put(tmp_path, mark_of(other.pid))
    message = rf'in use by process {other.pid} on .*since noon: train it.*--work-dir'
    with pytest.raises(WorkFolderError, match=message) as caught, locked(tmp_path):
        pass
    assert 'launcher' not in str(caught.value)
    assert (tmp_path / LOCK).exists()


def test_the_same_command_twice_hints_at_the_launcher(tmp_path, other):
    with locked(tmp_path):
        command = json.loads((tmp_path / LOCK).read_text())['command']
    put(tmp_path, mark_of(other.pid, command=command))
    with pytest.raises(WorkFolderError, match='launcher was not recognised; use torchrun'), locked(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, capfd):
    ready, told = os.pipe()

    def hold() -> int:
        with locked(tmp_path):
            os.write(told, b'.')
            time.sleep(600)
        return 0

    child = fork(hold)
    os.read(ready, 1)
    os.kill(child, signal.SIGKILL)
    assert status_of(child) == -signal.SIGKILL
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    assert f'was locked by process {child} on' in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_process_id_that_is_used_again_is_another_process(tmp_path, other):
    assert is_gone(mark_of(other.pid)) is False
    put(tmp_path, mark_of(other.pid, started='1'))
    with locked(tmp_path):
        pass


def test_a_zombie_has_ended(other):
    mark = mark_of(other.pid)
    other.kill()
    for _ in range(100):
        if is_gone(mark):
            break
        time.sleep(0.05)
    assert is_gone(mark) is True  # before anybody has waited for it


def beat(path: Path, times: int, clock=time.time) -> threading.Thread:
    def show() -> None:
        for _ in range(times):
            time.sleep(0.1)
            now = clock()
            os.utime(path, (now, now))

    thread = threading.Thread(target=show)
    thread.start()
    return thread


@pytest.mark.parametrize('elsewhere', [{'host': 'elsewhere'}, {'machine': 'a container of the same name'}])
def test_a_live_run_on_another_machine_is_refused(tmp_path, capfd, elsewhere):
    path = put(tmp_path, mark_of(os.getpid(), **elsewhere))
    thread = beat(path, 5)
    with pytest.raises(WorkFolderError, match='in use by process'), locked(tmp_path):
        pass
    thread.join()
    assert 'is locked by process' in capfd.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == [LOCK]


def test_a_run_on_another_machine_without_a_sign_of_life_is_taken_over(tmp_path, capfd):
    put(tmp_path, mark_of(os.getpid(), host='elsewhere'))
    begun = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - begun >= 0.9
    said = capfd.readouterr().err
    assert 'It is watched for 1 s' in said and 'has ended without removing its lock' in said


@pytest.mark.parametrize('clock', [lambda: 1.0, lambda: time.time() + 1e6])
def test_clocks_that_are_wrong_make_no_live_lock_stale(tmp_path, clock):
    """The owner's file system says 1970, or has jumped ahead; each sign of life still changes the time."""
    path = put(tmp_path, mark_of(os.getpid(), host='elsewhere'))
    os.utime(path, (0, 0) if clock() == 1.0 else (clock(), clock()))
    thread = beat(path, 5, clock)
    with pytest.raises(WorkFolderError, match='in use by process'), locked(tmp_path):
        pass
    thread.join()


def test_a_dead_lock_of_the_future_is_taken_over_in_time(tmp_path):
    path = put(tmp_path, mark_of(os.getpid(), host='elsewhere'))
    os.utime(path, (time.time() + 1e6, time.time() + 1e6))
    begun = time.monotonic()
    with locked(tmp_path):
        assert time.monotonic() - begun < 5


@pytest.mark.parametrize('text', ['', '{"pid": ', '[]', '\x00'])
def test_an_unreadable_lock_is_watched_and_taken_over(tmp_path, text):
    (tmp_path / LOCK).write_text(text)
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()


def test_a_lock_shows_life(tmp_path):
    with locked(tmp_path):
        first = (tmp_path / LOCK).stat().st_mtime_ns
        time.sleep(0.5)
        assert (tmp_path / LOCK).stat().st_mtime_ns > first


@pytest.mark.parametrize('stale', [False, True])
def test_of_many_at_once_one_gets_it(tmp_path, stale):
    """Processes that all think to be alone."""
    if stale:
        put(tmp_path, mark_of(os.getpid(), started='1'))
    start, release = os.pipe(), os.pipe()

    def take() -> int:
        os.close(release[1])
        os.read(start[0], 1)
        try:
            with locked(tmp_path):
                os.read(release[0], 1)  # until the parent has closed it
                return 7
        except WorkFolderError:
            return 3

    children = [fork(take) for _ in range(12)]
    os.write(start[1], b'.' * 12)
    statuses = []
    while len(statuses) < 11:
        child, status = os.wait()
        children.remove(child)
        statuses.append(os.waitstatus_to_exitcode(status))
    os.close(release[1])
    assert statuses == [3] * 11
    assert status_of(children[0]) == 7
    for end in (*start, release[0]):
        os.close(end)


def test_a_lost_lock_stops_the_run(tmp_path, other):
    with locked(tmp_path):
        put(tmp_path, mark_of(other.pid))
        with pytest.raises(WorkFolderError, match=f'was taken by process {other.pid}'):
            refuse_lost_lock(tmp_path)
    assert json.loads((tmp_path / LOCK).read_text())['pid'] == other.pid  # not ours to remove
    (tmp_path / LOCK).unlink()
    with locked(tmp_path):
        (tmp_path / LOCK).unlink()
        with pytest.raises(WorkFolderError, match='was removed'):
            refuse_lost_lock(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / 'file').write_text('')
    with (
        pytest.raises(WorkFolderError, match=r'cannot be written \(Not a directory\).*--work-dir'),
        locked(tmp_path / 'file' / 'run'),
    ):
        pass


@pytest.fixture
def read_only(tmp_path):
    """A file system mounted to be read."""
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'ro', 'none', str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip('needs the right to mount')
    yield tmp_path
    subprocess.run(['umount', str(tmp_path)], check=True)


def test_a_read_only_folder_is_one_sentence(read_only):
    for folder in (read_only, read_only / 'run'):
        with pytest.raises(WorkFolderError, match=r'cannot be written \(Read-only file system\).*--work-dir'), locked(folder):
            pass


@pytest.mark.slow
def test_two_trainings_of_one_folder(tmp_path):
    """Two processes that no launcher told of each other; the second ends before it writes anything."""
    command = [sys.executable, 'tools/train.py', 'configs/lisa/lisa_nano.py', '--work-dir', str(tmp_path), '--launcher', 'none']
    with locked(tmp_path):
        before = sorted(tmp_path.rglob('*'))
        second = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert sorted(tmp_path.rglob('*')) == before
    assert second.returncode == 1
    assert f'error: {tmp_path} is in use by process {os.getpid()} on' in second.stderr
    assert 'Traceback' not in second.stderr
