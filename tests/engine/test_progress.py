from __future__ import annotations

from types import SimpleNamespace

from lisa_mm.engine.hooks.progress_hook import ProgressHook

WEIGHTLESS = SimpleNamespace(get_lr=lambda: {'lr': [1e-3]})


def line_after(durations: list[float], max_iters: int, monkeypatch) -> str:
    """The progress line after steps of these durations in seconds."""
    clock = [100.0]
    monkeypatch.setattr('lisa_mm.engine.hooks.progress_hook.time.monotonic', lambda: clock[0])
    lines: list[str] = []
    runner = SimpleNamespace(
        iter=0,
        max_iters=max_iters,
        rank=0,
        optim_wrapper=WEIGHTLESS,
        logger=SimpleNamespace(info=lines.append),
        visualizer=SimpleNamespace(add_scalars=lambda *_, **__: None),
    )
    hook = ProgressHook(interval=len(durations), live=0)
    hook.json_log_path = 'scalars.json'
    hook.before_train(runner)
    for step, duration in enumerate(durations):
        clock[0] += duration
        hook.after_train_iter(runner, step, outputs={'loss': 1.0})
    return lines[-1]


def test_a_slow_first_step_does_not_count_into_the_time_left(monkeypatch):
    assert line_after([300.0] + [2.0] * 9, 20, monkeypatch).endswith('eta 0:00:20')  # 10 steps of 2 s


def test_the_time_left_follows_the_last_hundred_steps(monkeypatch):
    assert line_after([9.0] * 50 + [1.0, 3.0] * 50, 200, monkeypatch).endswith('eta 0:01:40')


def test_the_only_step_is_all_that_is_known(monkeypatch):
    assert line_after([3.0], 5, monkeypatch).endswith('eta 0:00:12')


def test_the_last_step_leaves_nothing(monkeypatch):
    assert line_after([1.0] * 4, 4, monkeypatch).endswith('eta 0:00:00')
