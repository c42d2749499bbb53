"""Seconds per training step at 7B proportions, their breakdown, and the gain of a shared prefix and fused attention."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.stages.cases import answer_case, report, run_cases
from benchmarks.gpu.stages.scale import TOY, TOY_SHAPE, build, parts_of, source_of, train_steps
from lisa_mm.models import LISA
from lisa_mm.planning.batch import BatchShape
from lisa_mm.planning.report import build_on_shapes
from lisa_mm.planning.trace import trace_step

SHAPE = BatchShape(images=2, rows=3, tokens=512, size=(768, 1024))
CHECKPOINTING = 'model.mllm.language_model.gradient_checkpointing'
Variant = tuple[bool, str]  # shared prefix, attention
VARIANTS: dict[Variant, str] = {
    (False, 'sdpa'): 'fused attention, each row by itself',
    (True, 'sdpa'): 'fused attention, shared prefix',
    (False, 'eager'): 'eager attention, each row by itself',
    (True, 'eager'): 'eager attention, shared prefix',
}


class Clock:
    """Times a GPU by events on its stream, a CPU by its clock."""

    def __init__(self, device: str):
        self.device = device

    def mark(self) -> Any:
        """Mark the current moment."""
        if self.device == 'cpu':
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, begin: Any, end: Any) -> float:
        """Seconds between two past moments."""
        return end - begin if self.device == 'cpu' else begin.elapsed_time(end) / 1000

    def wait(self) -> None:
        """Wait until the device is done."""
        if self.device != 'cpu':
            torch.cuda.synchronize()


class Parts:
    """The moments when the parts of a step start and end."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self.spans: dict[str, list[tuple[Any, Any]]] = defaultdict(list)
        self.moments: dict[str, Any] = {}

    @contextmanager
    def watching(self, model: LISA) -> Iterator[None]:
        """Record the parts of all forwards of a model."""
        owners = {
            'vision tower and projector': (model.mllm, 'encode_image'),
            "mask decoder's image encoder": (model.mask_decoder, 'encode_image'),
        }
        for name, (owner, method) in owners.items():
            object.__setattr__(owner, method, self._noted(name, getattr(owner, method)))
        hooks = [
            *self._hooks('language model', model.mllm.decoder),
            *self._hooks('forward', model),
            register_optimizer_step_pre_hook(self._note_optimizer),
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()
            for owner, method in owners.values():
                owner.__dict__.pop(method)

    def _note_optimizer(self, *_: Any) -> None:
        self.moments['optimizer'] = self.clock.mark()

    def _noted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **kwargs: Any) -> Any:
            begin = self.clock.mark()
            found = method(*args, **kwargs)
            self.spans[name].append((begin, self.clock.mark()))
            return found

        return noted

    def _hooks(self, name: str, module: torch.nn.Module) -> list[Any]:
        begun: list[Any] = []
        return [
            module.register_forward_pre_hook(lambda *_: begun.append(self.clock.mark())),
            module.register_forward_hook(lambda *_: self.spans[name].append((begun.pop(), self.clock.mark()))),
        ]

    def table(self, begin: Any, end: Any) -> dict[str, float]:
        """Seconds of each part of the step between two moments; backward lasts from the forward's end to the optimizer."""
        # checkpointed layers run again in backward, but not the module around them
        found = {name: sum(self.clock.seconds(*span) for span in spans) for name, spans in self.spans.items()}
        forward_end = self.spans['forward'][-1][1]
        optimizer = self.moments['optimizer']
        found['head, masks and losses'] = 2 * found['forward'] - sum(found.values())
        found['backward'] = self.clock.seconds(forward_end, optimizer)
        found['optimizer'] = self.clock.seconds(optimizer, end)
        found['all'] = self.clock.seconds(begin, end)
        return found


def model_flops(source: dict[str, Any], shape: BatchShape, half: bool) -> int:
    """Operations of a micro-batch's forward and backward, without recomputation by checkpointing."""
    model = build_on_shapes(source_of(source, options=(f'{CHECKPOINTING}=False',))['model'])
    with FlopCounterMode(display=False) as counter:
        trace_step(model, shape, half=half, device='cuda')
    return counter.get_total_flops()


def product_rate(device: str, size: int, dtype: torch.dtype) -> float:
    """Operations per second of the device in a matrix product, its best case."""
    clock = Clock(device)
    a, b = torch.randn(size, size, device=device, dtype=dtype), torch.randn(size, size, device=device, dtype=dtype)
    for _ in range(3):
        torch.matmul(a, b)
    begin = clock.mark()
    for _ in range(10):
        torch.matmul(a, b)
    end = clock.mark()
    clock.wait()
    return 10 * 2 * size**3 / clock.seconds(begin, end)


def profile_step(step: Callable[[], None], clock: Clock) -> dict[str, Any]:
    """Share of a step in which the GPU computes, its largest kernels, and how often the host waits."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if clock.device != 'cpu':
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    began = time.perf_counter()
    with torch.profiler.profile(activities=activities) as profile:
        step()
        clock.wait()
        taken = time.perf_counter() - began
    averages = profile.key_averages()
    kernels = sorted((e for e in averages if e.self_device_time_total), key=lambda e: -e.self_device_time_total)
    waits = {e.key: e.count for e in averages if e.key in ('cudaStreamSynchronize', 'cudaDeviceSynchronize', 'aten::item')}
    busy = sum(e.self_device_time_total for e in kernels if not e.key.startswith('aten::')) / 1e6
    top = [f'{e.key[:50]} {e.self_device_time_total / 1e3:.0f} ms x{e.count}' for e in kernels[:8]]
    return {'seconds': taken, 'busy': busy / taken, 'waits': waits, 'top': top}


def measure(task: dict[str, Any], _: str, turn: Callable[[], object]) -> dict[str, Any]:
    """Measure the parts of a step, the profile, and the variants in turns."""
    device, small = task['device'], task['small']
    source, shape = (source_of(TOY), TOY_SHAPE) if small else (source_of('lisa_7b_mix'), SHAPE)
    source['strategy'].pop('target_batch', None)
    source['strategy']['accumulation'] = 1
    flops = model_flops(source, shape, half=not small)
    parts, _ = parts_of(source)
    turn()
    clock = Clock(device)
    rate = product_rate(device, 256 if small else 8192, torch.bfloat16)
    model = build(parts, device)
    times: dict[Variant, list[float]] = {variant: [] for variant in VARIANTS}
    first = next(iter(VARIANTS))
    rounds, warm, watched = (1, 1, 1) if small else (4, 2, 3)
    plan: list[tuple[str, Variant]] = [('warm', first)] * warm + [('parts', first)] * watched + [('profile', first)]
    plan += [('warm', variant) for variant in VARIANTS] + [('time', variant) for _ in range(rounds) for variant in VARIANTS]
    tables: list[dict[str, float]] = []
    found: dict[str, Any] = {'flops': flops, 'rate': rate, 'tokens': shape.images * shape.rows * shape.tokens}

    def around(step: Callable[[], None], number: int) -> None:
        kind, variant = plan[number]
        language_model: Any = model.mllm.language_model
        language_model.share_prefix = variant[0]
        if language_model.model.config._attn_implementation != variant[1]:
            language_model.model.set_attn_implementation(variant[1])
        clock.wait()
        if kind == 'profile':
            found['profile'] = profile_step(step, clock)
            return
        watch = Parts(clock)
        begin = clock.mark()
        if kind == 'parts':
            with watch.watching(model):
                step()
        else:
            step()
        end = clock.mark()
        clock.wait()
        if kind == 'parts':
            tables.append(watch.table(begin, end))
        elif kind == 'time':
            times[variant].append(clock.seconds(begin, end))

    train_steps(source, model, shape, len(plan), around)
    found['parts'] = {name: statistics.median(table[name] for table in tables) for name in tables[0]}
    found['times'] = {VARIANTS[variant]: seconds for variant, seconds in times.items()}
    return found


def main(task: dict[str, Any]) -> None:
    """Run the case and write its rows."""
    measured = partial(measure, task)
    answer_case(task, measured)
    name = 'toy' if task['small'] else 'lisa_7b_mix, 2 images x 3 rows x 512 tokens'
    for outcome in run_cases(task, [name], measured, seconds=150):
        if outcome.status != 'done':
            report(task, case=name, status=outcome.status, note=outcome.note)
            continue
        found = outcome.found
        first = None
        for variant, seconds in found['times'].items():
            middle = statistics.median(seconds)
            first = first or middle
            report(
                task,
                case=f'{name}: {variant}',
                status='reported',
                value=f'{middle:.4f} s/step ({min(seconds):.4f} to {max(seconds):.4f})',
                note=f'{found["tokens"] / middle:,.0f} tokens/s; {first / middle:.2f} times as fast as the first',
            )
        assert first is not None
        report(
            task,
            case=f'{name}: model FLOP utilisation',
            status='reported',
            value=f'{found["flops"] / first / found["rate"]:.1%}',
            note=f'{found["flops"] / 1e12:.1f} TFLOP per step without recomputation; '
            f'a bf16 product of 8192 x 8192 matrices reaches {found["rate"] / 1e12:.0f} TFLOP/s',
        )
        for part, seconds in found['parts'].items():
            report(task, case=f'{name}: {part}', status='reported', value=f'{seconds:.4f} s')
        profile = found['profile']
        report(
            task,
            case=f'{name}: profile',
            status='reported',
            value=f'kernels run {profile["busy"]:.0%} of {profile["seconds"]:.3f} s',
            note=f'waits {profile["waits"]}; {"; ".join(profile["top"])}',
        )


if __name__ == '__main__':
    main(json.loads(sys.argv[1]))
