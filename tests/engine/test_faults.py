"""What happens to a run from outside ends it with one sentence, and earlier checkpoints stay."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from launching import TOY, result
from mmengine.hooks import Hook
from safetensors import SafetensorError
from toy import ToyDataset, make_config, model_of

from lisa_mm.checkpoints.folder import load_weights
from lisa_mm.datasets.index import FileState
from lisa_mm.engine import LisaRunner, faults
from lisa_mm.engine.faults import checkpoint_bytes, explain, explain_writing
from lisa_mm.engine.processes import process_mark
from lisa_mm.errors import DataError, TrainingStopped, UserError, WorkFolderError

SINGLE = 'LisaSingleDeviceStrategy'
Usage = namedtuple('Usage', ['total', 'used', 'free'])


class Do(Hook):
    """Calls a function before a step, or while a checkpoint is written."""

    priority = 'LOWEST'

    def __init__(self, function, *, step: int, saving: bool = False):
        self.function, self.step, self.saving = function, step, saving

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if batch_idx + 1 == self.step and not self.saving:
            self.function()

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        if checkpoint['meta']['iter'] == self.step and self.saving:
            self.function()


def run(work_dir: Path, *hooks: Hook, **options) -> LisaRunner:
    options = {'work_dir': str(work_dir), 'strategy': SINGLE, 'max_iters': 6, 'interval': 2, **options}
    runner = LisaRunner(model_of(options), **make_config(options), custom_hooks=list(hooks))
    runner.train()
    return runner


def check_earlier(work_dir: Path) -> None:
    """iter_2 is whole, nothing half written remains, and the run goes on."""
    assert [path.name for path in work_dir.glob('*iter_*')] == ['iter_2']
    load_weights(model_of({}), work_dir)
    assert run(work_dir, resume=True).iter == 6


def test_the_size_of_a_checkpoint_is_known_before(tmp_path):
    runner = run(tmp_path)
    needed = checkpoint_bytes(runner.strategy.module, runner.strategy.optim_wrapper.optimizer)
    written = sum(path.stat().st_size for path in (tmp_path / 'iter_6').rglob('*') if path.is_file())
    assert 1000 < needed < written  # names and padding are most of a toy's
    assert runner._written[True] == written


def test_a_disk_without_room_is_refused_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(faults.shutil, 'disk_usage', lambda path: Usage(0, 0, 100))
    message = r'a checkpoint needs at least 2 kB, but 100 B is free in .*Make room.*--resume; or give another --work-dir'
    with pytest.raises(WorkFolderError, match=message):
        run(tmp_path, Do(pytest.fail, step=1))


def test_a_disk_without_room_is_refused_before_writing(tmp_path, monkeypatch):
    def fill() -> None:
        size = sum(path.stat().st_size for path in (tmp_path / 'iter_2').rglob('*') if path.is_file())
        monkeypatch.setattr(faults.shutil, 'disk_usage', lambda path: Usage(0, 0, size - 1))

    with pytest.raises(WorkFolderError, match=r'iter_4 needs at least .*The earlier checkpoints are whole \(last: iter_2\)'):
        run(tmp_path, Do(fill, step=4))
    monkeypatch.undo()
    check_earlier(tmp_path)


@pytest.mark.parametrize('limit', [100, 1500])  # of the state, written first by torch; of the weights, by safetensors
def test_a_write_that_fails_in_the_middle(tmp_path, limit):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    full = Do(lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard)), step=4, saving=True)
    try:
        with pytest.raises(WorkFolderError) as caught:
            run(tmp_path, full)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(caught.value).startswith('iter_4 was not written: File too large. It needs at least ')
    assert 'The earlier checkpoints are whole (last: iter_2)' in str(caught.value)
    check_earlier(tmp_path)


@pytest.fixture
def small_disk(tmp_path):
    """A disk of one megabyte."""
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=1m', 'none', str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip('needs the right to mount')
    yield tmp_path
    subprocess.run(['umount', '--lazy', str(tmp_path)], check=True)


@pytest.mark.parametrize('left', [0, 8192, 20480])
def test_a_full_disk(small_disk, left):
    def fill() -> None:
        with (small_disk / 'filler').open('wb') as file:
            file.write(bytes(shutil.disk_usage(small_disk).free - left))

    with pytest.raises(WorkFolderError, match=r'iter_4 was not written: No space left on device\. It needs at least'):
        run(small_disk, Do(fill, step=4, saving=True))
    (small_disk / 'filler').unlink()
    check_earlier(small_disk)


def test_errors_that_are_not_the_disks_stay_themselves(tmp_path):
    for error in (ValueError('any'), RuntimeError('shape'), SafetensorError('invalid header'), FileNotFoundError(2, 'no', 'x')):
        assert explain_writing(error, tmp_path / 'iter_2', 1) is None
        assert explain(error, [process_mark()], 3) is None


def test_another_file_of_the_run_on_a_full_disk(tmp_path):
    def fail() -> None:
        raise OSError(errno.ENOSPC, 'No space left on device', 'curves.png')

    with pytest.raises(WorkFolderError, match=r'in iteration 3, a file curves\.png could not be used: No space left on device'):
        run(tmp_path, Do(fail, step=3))


@pytest.mark.parametrize(
    ('number', 'hint'),
    [
        (signal.SIGKILL, r'was killed \(Killed\)\. If nobody did that, the machine had too little memory.*lower num_workers'),
        (signal.SIGBUS, r'was killed \(Bus error\)\. The memory that processes share is full: /dev/shm has .*--shm-size'),
        (signal.SIGSEGV, r'was killed \(Segmentation fault\)\. It is a fault of a library that reads the data'),
    ],
)
def test_a_data_worker_that_is_killed(tmp_path, number, hint):
    def kill() -> None:
        worker = multiprocessing.active_children()[0]
        os.kill(worker.pid, number)
        time.sleep(0.2)

    with pytest.raises(UserError, match=rf'in iteration \d, the data worker \(process [\d, ]+\) {hint}.*--resume'):
        run(tmp_path, Do(kill, step=3), num_workers=1, max_iters=60)
    assert not (tmp_path / '.lock').exists()


def test_a_signal_that_also_kills_a_starting_worker_ends_the_training_as_the_signal_does(tmp_path):
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        raise RuntimeError('DataLoader worker (pid 5) is killed by signal: Terminated. ')

    with pytest.raises(TrainingStopped, match=r'SIGTERM ended the training .* No step was saved after .*iter_2') as stopped:
        run(tmp_path, Do(kill, step=4))
    assert stopped.value.exit_status == 143
    check_earlier(tmp_path)


def test_contact_lost_to_another_machine_names_it():
    elsewhere = {**process_mark(), 'host': 'node7'}
    error = RuntimeError('[gloo/transport/tcp/pair.cc:534] Connection closed by peer [10.0.0.7]:1234')
    text = str(explain(error, [process_mark(), elsewhere], 4))
    assert text.startswith('in iteration 5, the contact to another process was lost; it runs on one of node7 ([gloo/')


class FileDataset(ToyDataset):
    """Its annotations lie in a file; sample ``bad`` has no image."""

    title = 'mine'

    def __init__(self, file: Path, bad: int = -1):
        super().__init__()
        self.file, self.bad = file, bad
        self.loaded_state = FileState.of([file])

    def changed_files(self) -> list[Path]:
        return self.loaded_state.changed([self.file])

    def __getitem__(self, index: int) -> dict:
        if index == self.bad:
            raise DataError('a.jpg cannot be read.', file='a.jpg')
        return super().__getitem__(index)


def run_on(work_dir: Path, dataset: FileDataset, *hooks: Hook, **options) -> LisaRunner:
    options = {'work_dir': str(work_dir), 'strategy': SINGLE, 'max_iters': 4, 'interval': 2, **options}
    settings = make_config(options)
    settings['train_dataloader']['dataset'] = dataset
    runner = LisaRunner(model_of(options), **settings, custom_hooks=list(hooks))
    runner.train()
    return runner


def log_of(runner: LisaRunner) -> str:
    return ''.join(path.read_text() for path in sorted(Path(runner.work_dir).glob('*/*.log')))


def test_a_data_set_that_changes_while_training_or_before_resuming(tmp_path):
    file = tmp_path / 'mine.jsonl'
    file.write_text('1')
    calm = run_on(tmp_path / 'calm', FileDataset(file))
    again = run_on(tmp_path / 'again', FileDataset(file), resume=str(tmp_path / 'calm' / 'iter_2'))
    assert 'changed' not in log_of(calm) and 'annotation files' not in log_of(again)
    changed = run_on(tmp_path / 'changed', FileDataset(file), Do(lambda: file.write_text('22'), step=3))
    assert f'Files of the data set have changed since it was loaded: {file}. The training goes by' in log_of(changed)
    later = run_on(tmp_path / 'later', FileDataset(file), resume=str(tmp_path / 'calm' / 'iter_2'))
    assert 'the annotation files of mine are not those of the run that wrote the checkpoint' in log_of(later)


@pytest.mark.parametrize('num_workers', [0, 1])
def test_an_unreadable_image_is_one_sentence_and_says_what_changed(tmp_path, num_workers):
    file = tmp_path / 'mine.jsonl'
    file.write_text('1')
    with pytest.raises(DataError, match=r'^a\.jpg cannot be read\.$'):
        run_on(tmp_path / 'calm', FileDataset(file, bad=9), num_workers=num_workers)
    with pytest.raises(DataError, match=r'^a\.jpg cannot be read\. Files of the data set have changed since') as caught:
        run_on(tmp_path / 'run', FileDataset(file, bad=13), Do(file.unlink, step=1), num_workers=num_workers)
    assert '\n' not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize('dead', [0, 1])
def test_when_one_process_is_killed_the_other_ends_and_names_it(tmp_path, dead):
    """Started as srun does, without a launcher that would end the others."""
    with socket.socket() as listener:
        listener.bind(('127.0.0.1', 0))
        port = listener.getsockname()[1]
    run = {'work_dir': str(tmp_path), 'strategy': 'LisaDDPStrategy', 'max_iters': 9, 'die_at': 3, 'die_rank': dead}
    started = []
    for rank in range(2):
        world = {'RANK': rank, 'LOCAL_RANK': rank, 'WORLD_SIZE': 2, 'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': port}
        env = {**os.environ, 'OMP_NUM_THREADS': '1', **{name: str(value) for name, value in world.items()}}
        env.pop('LISA_MM_ALONE', None)
        command = [sys.executable, str(TOY), json.dumps([run])]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    assert started[dead].wait(timeout=120) == -signal.SIGKILL
    begun = time.monotonic()
    started[1 - dead].wait(timeout=60)
    assert time.monotonic() - begun < 30
    error = result(tmp_path, 1 - dead)['error']
    assert error.startswith(f'UserError: in iteration 3, process {dead} (pid {started[dead].pid} on ')
    assert 'ended and left this one waiting' in error
