"""Twenty training steps of lisa_nano with every strategy, compared with the CPU, and bit-exact resuming.

The strategies run in parallel: this stage compares numbers, not times.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.hooks import Hook

from benchmarks.gpu.stages.cases import Outcome, answer_case, report, run_cases
from benchmarks.gpu.stages.scale import CONFIGS
from lisa_mm.apis.training import build_runner
from lisa_mm.config import load_config
from projects.nano.demo.writer import write_demo

STEPS = 20
REFERENCE = 'CPU, float32'
FIRST_STEP, ALL_STEPS = 1e-4, 0.02  # float32 against the CPU: the first loss, and the mean difference of all
FIRST_STEP_HALF, ALL_STEPS_HALF = 0.02, 0.05  # bfloat16 and float16
# No dropout (its random numbers differ between devices) and no validation
OPTIONS = (
    'model.lora.lora_dropout=0.0',
    'val_dataloader=None',
    'val_cfg=None',
    'val_evaluator=None',
    'custom_hooks=[]',
    'train_dataloader.num_workers=1',
)


@dataclass(frozen=True)
class Case:
    """A strategy.

    Args:
        name: A unique name.
        strategy: Config of the strategy.
        resumed: Also train half the steps, continue in a new process, and compare the weights.
    """

    name: str
    strategy: dict[str, Any]
    resumed: bool = False

    @property
    def half(self) -> bool:
        """Whether it computes in half precision."""
        return bool(self.strategy.get('bf16') or self.strategy.get('fp16'))


def _deepspeed(stage: int, **more: Any) -> dict[str, Any]:
    return dict(type='LisaDeepSpeedStrategy', zero_stage=stage, **more)


CASES = (
    Case(REFERENCE, dict(type='LisaSingleDeviceStrategy')),
    Case('single device, float32', dict(type='LisaSingleDeviceStrategy'), resumed=True),
    Case('ZeRO-2, bfloat16', _deepspeed(2, bf16=True), resumed=True),
    Case('ZeRO-3, bfloat16', _deepspeed(3, bf16=True), resumed=True),
    Case('DDP, float32', dict(type='LisaDDPStrategy'), resumed=True),
    Case('DDP, bfloat16', dict(type='LisaDDPStrategy', bf16=True)),
    Case('ZeRO-0, float32', _deepspeed(0)),
    Case('ZeRO-0, bfloat16', _deepspeed(0, bf16=True)),
    Case('ZeRO-1, bfloat16', _deepspeed(1, bf16=True)),
    Case('ZeRO-2, float16, dynamic loss scale', _deepspeed(2, fp16=True), resumed=True),
    Case('ZeRO-3, float16, dynamic loss scale', _deepspeed(3, fp16=True)),
    Case('ZeRO-1, float16, dynamic loss scale', _deepspeed(1, fp16=True)),
    Case('ZeRO-2, bfloat16, optimizer on the CPU', _deepspeed(2, bf16=True, offload='optimizer')),
    Case('ZeRO-3, bfloat16, all on the CPU', _deepspeed(3, bf16=True, offload='all')),
)
RESUMED = ', resumed after half the steps'
SMALL = (REFERENCE, 'DDP, float32')  # bfloat16 is slow on a CPU
BY_NAME = {case.name: case for case in CASES}


def train(
    strategy: dict[str, Any], data: str, folder: Path, steps: int, resume: str | bool = False
) -> tuple[list[float], list[int]]:
    """Train, and save checkpoints at half the steps and at the end.

    Returns:
        The losses of the steps that ran, and the numbers (from 0) of steps skipped by float16's loss scale.

    Args:
        strategy: The config's strategy.
        data: Folder of the demo set.
        folder: Work folder.
        steps: Number of optimizer steps.
        resume: A checkpoint to continue from.
    """
    options = (*OPTIONS, f'data_root={data}', f'train_cfg.max_iters={steps}', f'default_hooks.checkpoint.interval={steps // 2}')
    source = load_config(CONFIGS / 'lisa_nano.py', (), options)
    source.randomness = dict(seed=0, deterministic=True)
    source.strategy = {**strategy, 'gradient_clipping': 1.0}
    for key in ('val_interval', 'val_at_start'):
        source.train_cfg.pop(key, None)
    source.default_hooks.checkpoint.pop('save_best', None)
    source.default_hooks.logger.interval = 1
    runner = build_runner(source, folder, resume=resume)
    losses: list[float] = []
    skipped: list[int] = []

    class Losses(Hook):
        def after_train_iter(self, runner: Any, *_: Any, **__: Any) -> None:
            engine = getattr(runner.strategy.model, 'model', None)  # DeepSpeed's
            if getattr(engine, 'skipped_steps', 0) > len(skipped):
                skipped.append(len(losses))
            losses.append(float(runner.message_hub.get_scalar('train/loss').current()))

    runner.register_hook(Losses(), 'VERY_LOW')
    runner.train()
    return losses, skipped


def measure(task: dict[str, Any], name: str, turn: Callable[[], object]) -> dict[str, Any]:
    """Losses of the steps, and a hash of the final weights."""
    steps = 2 if task['small'] else STEPS
    case = BY_NAME[name.removesuffix(RESUMED)]
    folder = work_folder(task, case)
    turn()
    if name.endswith(RESUMED):
        losses, skipped = train(case.strategy, task['data'], folder / 'resumed', steps, resume=str(folder / f'iter_{steps // 2}'))
        folder = folder / 'resumed'
    else:
        losses, skipped = train(case.strategy, task['data'], folder, steps)
    return {
        'losses': losses,
        'skipped': skipped,
        'weights': hashlib.sha256((folder / f'iter_{steps}' / 'weights.safetensors').read_bytes()).hexdigest(),
    }


def work_folder(task: dict[str, Any], case: Case) -> Path:
    """The work folder of a case, where its resumed run finds the checkpoints."""
    return Path(task['data']).parent / f'case_{CASES.index(case)}'


def environment(device: str, name: str) -> dict[str, str]:
    """The environment of a launcher's single process, with its own port; the reference sees no GPU."""
    case = BY_NAME[name.removesuffix(RESUMED)]
    found = {'CUBLAS_WORKSPACE_CONFIG': ':4096:8'}
    if case.name == REFERENCE or device == 'cpu':
        found['CUDA_VISIBLE_DEVICES'] = ''
    if case.name == REFERENCE:  # with one thread per core beside the other cases, it would be many times slower
        found['OMP_NUM_THREADS'] = '4'
    if case.strategy['type'] != 'LisaSingleDeviceStrategy':
        port = 29600 + 2 * CASES.index(case) + name.endswith(RESUMED)
        found |= {'RANK': '0', 'LOCAL_RANK': '0', 'WORLD_SIZE': '1', 'LOCAL_WORLD_SIZE': '1'}
        found |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': str(port)}
    return found


def compare(task: dict[str, Any], outcome: Outcome, reference: list[float]) -> None:
    """Write a row: the deviation of a case's losses from the CPU's."""
    case, losses = BY_NAME[outcome.name], outcome.found['losses']
    # after a step that only one of them skips, they train different weights
    skipped = outcome.found['skipped']
    steps = len(losses)
    compared = skipped[0] + 1 if skipped else steps
    losses, reference = losses[:compared], reference[:compared]
    far = [abs(loss - wanted) / wanted for loss, wanted in zip(losses, reference, strict=True)]
    first, mean = far[0], sum(far) / len(far)
    allowed = (FIRST_STEP_HALF, ALL_STEPS_HALF) if case.half else (FIRST_STEP, ALL_STEPS)
    report(
        task,
        case=case.name,
        status='holds' if first <= allowed[0] and mean <= allowed[1] else 'DOES NOT HOLD',
        value=f'first loss {first:.1e} from the CPU, {len(far)} steps {mean:.1e} in the mean',
        allowed=f'{allowed[0]:g}, {allowed[1]:g}',
        note=f'losses {losses[0]:.4f} to {losses[-1]:.4f}; the CPU {reference[0]:.4f} to {reference[-1]:.4f}'
        + (f'; the loss scale skipped {len(skipped)} of {steps} steps, the first of them step {compared}' if skipped else ''),
    )


def compare_resumed(task: dict[str, Any], outcome: Outcome, whole: dict[str, Any]) -> None:
    """Write a row: whether the resumed run equals the uninterrupted one."""
    losses, weights = outcome.found['losses'], outcome.found['weights']
    wanted = whole['losses'][-len(losses) :]
    equal = sum(loss == other for loss, other in zip(losses, wanted, strict=True))
    report(
        task,
        case=outcome.name,
        status='holds' if equal == len(losses) and weights == whole['weights'] else 'DOES NOT HOLD',
        value=f'{equal} of {len(losses)} losses equal, weights {"equal" if weights == whole["weights"] else "differ"}',
        allowed='equal to the bit',
    )


def main(task: dict[str, Any]) -> None:
    """Write one row per strategy, then one per resumed run."""
    answer_case(task, partial(measure, task))
    chosen = [case for case in CASES if not task['small'] or case.name in SMALL]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / 'demo'
        write_demo(data, ('train',), limit=16 if task['small'] else 120, num_workers=1)
        task = {**task, 'data': str(data)}
        measured = partial(measure, task)
        done: dict[str, dict[str, Any]] = {}
        waiting: list[Outcome] = []
        options: dict[str, Any] = dict(
            environment=partial(environment, task['device']), seconds=150, ahead=1, at_once=1 if task['small'] else 5
        )
        for outcome in run_cases(task, [case.name for case in chosen], measured, **options):
            if outcome.status != 'done':
                report(task, case=outcome.name, status=outcome.status, note=outcome.note)
                continue
            done[outcome.name] = outcome.found
            waiting.append(outcome)
            while waiting and REFERENCE in done:
                ready = waiting.pop(0)
                if ready.name != REFERENCE:
                    compare(task, ready, done[REFERENCE]['losses'])
        for outcome in waiting:
            losses = outcome.found['losses']
            report(
                task,
                case=outcome.name,
                status='reported',
                value=f'losses {losses[0]:.4f} to {losses[-1]:.4f}',
                note='the CPU has no losses to compare with',
            )
        names = [case.name + RESUMED for case in chosen if case.resumed and case.name in done]
        for outcome in run_cases(task, names, measured, label='_resumed', **options):
            if outcome.status == 'done':
                compare_resumed(task, outcome, done[outcome.name.removesuffix(RESUMED)])
            else:
                report(task, case=outcome.name, status=outcome.status, note=outcome.note)


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
