"""Signals: a checkpoint after the running step, a known exit status, and a resumed run equals an undisturbed one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from launching import finish, result, start
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from torch.utils.data import DataLoader
from toy import ToyDataset, collate, make_config, model_of

from lisa_mm.command import run_command
from lisa_mm.engine import LisaRunner, stopping
from lisa_mm.engine.stopping import StopRequest, shield_workers
from lisa_mm.errors import TrainingStopped

SINGLE = 'LisaSingleDeviceStrategy'
RUN = {'max_iters': 6, 'accumulation': 2, 'model': {'dropout': 0.3}, 'num_workers': 1}


class Sender(Hook):
    """Sends signals to its own process: ``{'before_train_iter 2': [SIGTERM]}``."""

    priority = 'HIGHEST'

    def __init__(self, plan: dict[str, list[int]]):
        self.plan = plan
        self.calls: list[str] = []

    def _called(self, name: str) -> None:
        self.calls.append(name)
        for number in self.plan.get(name, []):
            os.kill(os.getpid(), number)

    def before_run(self, runner) -> None:
        self._called('before_run')

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self._called(f'before_train_iter {batch_idx + 1}')

    def after_val_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._called(f'after_val_iter {batch_idx}')

    def before_save_checkpoint(self, runner, checkpoint) -> None:
        self._called('before_save_checkpoint')

    def after_val_epoch(self, runner, metrics=None) -> None:
        self._called('after_val_epoch')


class Score(BaseMetric):
    def process(self, data_batch, data_samples) -> None:
        self.results.append(1)

    def compute_metrics(self, results: list) -> dict[str, float]:
        return {'gIoU': 0.5}


@pytest.fixture(autouse=True)
def as_in_a_terminal():
    """Jobs that a shell starts in the background ignore Ctrl-C, and so would the runs of these tests."""
    old = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, old)


def run(work_dir, plan: dict[str, list[int]], *, validate: bool = False, **options) -> tuple[LisaRunner, Sender, TrainingStopped]:
    options = {'work_dir': str(work_dir), 'strategy': SINGLE, 'max_iters': 6, **options}
    settings = make_config(options)
    if validate:
        loader = {'dataset': ToyDataset(length=6), 'batch_size': 1, 'collate_fn': collate, 'num_workers': 0}
        loader['sampler'] = {'type': 'DefaultSampler', 'shuffle': False}
        settings |= {'val_dataloader': loader, 'val_evaluator': [Score()], 'val_cfg': {}}
    sender = Sender(plan)
    runner = LisaRunner(model_of(options), **settings, custom_hooks=[sender])
    with pytest.raises(TrainingStopped) as caught:
        runner.train()
    return runner, sender, caught.value


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138), (signal.SIGINT, 130)])
def test_a_signal_saves_the_running_step_and_ends(tmp_path, capfd, number, status):
    before = signal.getsignal(number)
    _, _, stopped = run(tmp_path, {'before_train_iter 2': [number]})
    assert stopped.exit_status == status
    assert str(stopped) == (
        f'{number.name} ended the training after iteration 2 of 6. {tmp_path}/iter_2 holds it: go on with the same command and '
        '--resume.'
    )
    assert (tmp_path / 'last_checkpoint').read_text() == 'iter_2\n'
    assert f'{number.name}: the running optimizer step ends, a checkpoint is saved' in capfd.readouterr().err
    assert signal.getsignal(number) == before
    assert not (tmp_path / '.lock').exists()


def test_a_signal_before_the_first_step_makes_none(tmp_path):
    runner, sender, stopped = run(tmp_path, {'before_run': [signal.SIGTERM]}, train_cfg={'val_at_start': True}, validate=True)
    assert runner.iter == 0 and sender.calls == ['before_run']
    assert str(stopped).endswith('after iteration 0 of 6. No checkpoint was saved.')


def test_a_signal_while_saving_leaves_a_whole_checkpoint(tmp_path):
    runner, _, _ = run(tmp_path, {'before_save_checkpoint': [signal.SIGTERM]}, interval=2)
    assert sorted(path.name for path in tmp_path.glob('*iter_*')) == ['iter_2', 'iter_3']
    assert runner.iter == 3


def test_a_signal_breaks_a_validation_off_and_saves(tmp_path):
    plan = {'after_val_iter 2': [signal.SIGUSR1]}
    runner, sender, stopped = run(tmp_path, plan, validate=True, train_cfg={'val_interval': 3})
    assert runner.iter == 3 and sender.calls[-2:] == ['after_val_iter 2', 'before_save_checkpoint']
    assert 'iter_3 holds it' in str(stopped)
    # the resumed run does the validation that is due
    plan = {'before_train_iter 4': [signal.SIGUSR1]}
    _, sender, _ = run(tmp_path, plan, validate=True, train_cfg={'val_interval': 3}, resume=True)
    assert sender.calls[1:8] == [*(f'after_val_iter {number}' for number in range(6)), 'after_val_epoch']


def test_a_signal_breaks_the_last_validation_off(tmp_path):
    runner, _, stopped = run(tmp_path, {'after_val_iter 0': [signal.SIGTERM]}, validate=True, max_iters=2)
    assert runner.iter == 2 and 'iter_2 holds it' in str(stopped)


def test_where_no_hook_saves_the_message_says_so(tmp_path):
    settings = make_config({'work_dir': str(tmp_path), 'strategy': SINGLE})
    settings['default_hooks']['checkpoint'] = None
    runner = LisaRunner(model_of({}), **settings, custom_hooks=[Sender({'before_train_iter 2': [signal.SIGTERM]})])
    with pytest.raises(TrainingStopped, match=r'after iteration 2 of 5\. No checkpoint was saved\.'):
        runner.train()


def test_a_second_ctrl_c_ends_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, 'ONE_EVENT', -1.0)
    options = {'work_dir': str(tmp_path), 'strategy': SINGLE}
    sender = Sender({'before_train_iter 2': [signal.SIGINT, signal.SIGINT]})
    runner = LisaRunner(model_of(options), **make_config(options), custom_hooks=[sender])
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    assert not list(tmp_path.glob('iter_*')) and not (tmp_path / '.lock').exists()


def test_one_ctrl_c_that_arrives_twice_is_one():
    """The terminal sends it to every process, and torchrun passes it on."""
    request = StopRequest()
    with request.listening():
        for number in (signal.SIGINT, signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
    assert request.agree() == signal.SIGINT


def test_an_ignored_signal_stays_ignored():
    old = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopRequest().listening():
            assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, old)


class Slow(ToyDataset):
    def __getitem__(self, index: int) -> dict:
        time.sleep(0.05)
        return {'pid': os.getpid(), **super().__getitem__(index)}


def pid_of(samples: list[dict]) -> int:
    return samples[0]['pid']


def test_workers_outlive_a_signal_to_the_whole_job_and_end_with_the_loader():
    loader = DataLoader(Slow(length=40), num_workers=2, collate_fn=pid_of)
    shield_workers(loader)
    batches = iter(loader)
    pids = {next(batches) for _ in range(4)}
    assert len(pids) == 2 and os.getpid() not in pids
    for pid in pids:  # from another process, as slurm's
        for name in ('TERM', 'INT', 'USR1'):
            subprocess.run(['kill', f'-{name}', str(pid)], check=True)
    assert len(list(batches)) == 36
    batches = iter(loader)
    pids = {next(batches) for _ in range(4)}
    for pid in pids:
        os.kill(pid, signal.SIGTERM)  # from the parent: multiprocessing at exit
    time.sleep(0.5)
    assert not any(worker.is_alive() for worker in batches._workers)
    with pytest.raises(RuntimeError, match='exited unexpectedly'):
        list(batches)


def test_exit_statuses_of_the_tools(capsys):
    def stop() -> None:
        raise TrainingStopped('text', signal.SIGTERM)

    def interrupt() -> None:
        raise KeyboardInterrupt

    for main, status, text in ((stop, 143, 'text\n'), (interrupt, 130, 'interrupted\n')):
        with pytest.raises(SystemExit) as caught:
            run_command(main)
        assert caught.value.code == status
        assert capsys.readouterr().err == text


@pytest.fixture(scope='module')
def stopped(tmp_path_factory):
    """Runs of two processes, one or both of which get a signal; resumed; and undisturbed ones."""
    root = tmp_path_factory.mktemp('stopping')
    kinds = {
        # first, for after DDP DeepSpeed compiles an operation: see patches.leave_out_shm_op
        'both': {'stage': 3, 'signal_at': 4, 'signal': int(signal.SIGTERM)},
        'one': {'strategy': 'LisaDDPStrategy', 'signal_at': 2, 'signal_ranks': [1], 'signal': int(signal.SIGUSR1)},
    }
    runs = [{**RUN, **options, 'work_dir': str(root / name)} for name, options in kinds.items()]
    calm = [{**run, 'signal_at': -1} for run in runs]
    again = [{**run, 'work_dir': run['work_dir'] + '_again', 'resume': run['work_dir']} for run in calm]
    whole = [{**run, 'work_dir': run['work_dir'] + '_whole'} for run in calm]
    finish(start([*runs, *again, *whole], processes=2))
    return root


@pytest.mark.slow
@pytest.mark.parametrize(('name', 'at', 'status'), [('one', 2, 138), ('both', 4, 143)])
def test_all_processes_stop_after_the_same_step_and_resume_to_the_bit(stopped, name, at, status):
    first = [result(stopped / name, rank) for rank in range(2)]
    assert [found['stopped'][0] for found in first] == [status, status]
    assert [len(found['losses']) for found in first] == [at, at]
    assert f'iter_{at} holds it' in first[0]['stopped'][1] and first[1]['stopped'][1] == ''
    assert first[0]['losses'] + result(stopped / f'{name}_again')['losses'] == result(stopped / f'{name}_whole')['losses']
    expected, found = (torch.load(stopped / f'{name}_{run}' / 'final.pt') for run in ('whole', 'again'))
    assert all(torch.equal(expected[key], found[key]) for key in expected)


@pytest.mark.slow
def test_the_tool_ends_with_the_status_and_goes_on(tmp_path, demo):
    """As a scheduler does it: the signal goes to the process and to its data workers."""
    options = [f'data_root={demo}', 'train_cfg.max_iters=100000', 'train_cfg.val_interval=0', 'train_dataloader.num_workers=2']
    command = [sys.executable, 'tools/train.py', 'configs/lisa/lisa_nano.py', '--work-dir', str(tmp_path), '--resume']
    process = subprocess.Popen(
        [*command, '--cfg-options', *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 120
    while not any(' s/iter' in log.read_text() for log in tmp_path.glob('*/*.log')) and time.monotonic() < deadline:
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 143, output[-3000:]
    assert 'SIGTERM: the running optimizer step ends' in output and 'Traceback' not in output
    assert 'holds it: go on with the same command and --resume' in output.splitlines()[-1]
    assert len(list(tmp_path.glob('iter_*'))) == 1 and not (tmp_path / '.lock').exists()
