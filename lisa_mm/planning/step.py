"""Walk through a training step's parameters, gradients and optimizer to find the largest sum of live bytes.

It follows torch's ``AdamW`` and ``DistributedDataParallel``, this package's single-device strategy, and
DeepSpeed 0.19 (``runtime/zero/stage_1_and_2.py``, ``runtime/zero/stage3.py``, ``runtime/fp16/unfused_optimizer.py``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..engine.strategies.memory_plan import MemoryPlan
from .trace import Trace

FLOAT32, FLOAT64 = 4, 8
ADAM_STATES = 2 * FLOAT32  # first and second moments
STAGE_0_BUCKET = 500_000_000  # elements; deepspeed.runtime.engine.MEMORY_OPT_ALLREDUCE_SIZE


@dataclass(frozen=True)
class StepMemory:
    """Peak bytes of one process.

    Args:
        parameters_trained, parameters_frozen: In the model's precision, with its buffers; without stage 3's gathered ones.
        gathered: Stage 3: parameters gathered for use.
        optimizer: Master weights and moments.
        gradients: Gradients kept at the peak of forward and backward.
        buckets: Buckets for communication.
        activations: Activations at that peak, temporaries included.
        step_temporary: Temporaries of the optimizer's step.
        forward_backward, step: Peaks of the two phases.
        offloaded: This process's bytes in CPU memory.
    """

    parameters_trained: int
    parameters_frozen: int
    gathered: int
    optimizer: int
    gradients: int
    buckets: int
    activations: int
    step_temporary: int
    forward_backward: int
    step: int
    offloaded: int

    @property
    def peak(self) -> int:
        """The larger of the two peaks."""
        return max(self.forward_backward, self.step)


def adam_temporaries(sizes: Sequence[int], device: str) -> int:
    """Temporary bytes while ``torch.optim.AdamW`` updates tensors of these numbers of elements in float32.

    One by one, it makes the root of the second moment and its quotient; on a GPU, all roots at once, then it works in place.
    """
    if not sizes:
        return 0
    return 2 * FLOAT32 * max(sizes) if device == 'cpu' else FLOAT32 * sum(sizes)


def step_memory(trace: Trace, plan: MemoryPlan) -> StepMemory:
    """Walk through a training step after the first ones, when the optimizer state exists."""
    if plan.stage in (1, 2):
        return max((_Partitioned(trace, plan, rank).run() for rank in {0, plan.processes - 1}), key=lambda memory: memory.peak)
    return (_Sharded if plan.stage == 3 else _Replicated)(trace, plan, 0).run()


class _Walk:
    """A training step of one process: live bytes at each gradient, and the largest sum."""

    def __init__(self, trace: Trace, plan: MemoryPlan, rank: int):
        self.trace, self.plan, self.rank = trace, plan, rank
        self.unit = trace.parameter_bytes
        self.trained, self.frozen = sum(trace.trained), sum(trace.frozen)
        self.kept = 0  # gradients
        self.buckets = 0
        self.best = (0, 0, 0, 0)  # sum, gradients, buckets, activations

    def note(self, activations: int, extra: int = 0) -> None:
        """Record the current memory beyond the constant states; ``extra`` belongs to communication."""
        total = activations + self.kept + self.buckets + extra
        self.best = max(self.best, (total, self.kept, self.buckets + extra, activations))

    def micro_batch(self, *, last: bool) -> None:
        """Forward and backward."""
        trace = self.trace
        self.note(trace.forward_peak)
        for gradient in trace.gradients:
            self.note(gradient.peak)
            self.on_gradient(trace.trained[gradient.parameter], gradient.parameter, gradient.live)
        self.note(trace.end_peak)
        self.after_backward(last=last)

    def on_gradient(self, numel: int, parameter: int, live: int) -> None:
        """Handle a gradient, which is included in the live bytes."""
        raise NotImplementedError

    def after_backward(self, *, last: bool) -> None:
        """Do the remaining communication."""

    def states(self) -> dict[str, int]:
        """Constant states, by name."""
        raise NotImplementedError

    def step_temporary(self) -> int:
        """Largest sum in the optimizer's step, without :meth:`states`."""
        raise NotImplementedError

    def run(self) -> StepMemory:
        """Forward, backward and step."""
        count = min(self.plan.accumulation, 2)  # the third micro-batch is like the second
        for number in range(count):
            self.micro_batch(last=number == count - 1)
        states = self.states()
        offloaded = states.pop('offloaded', 0)
        always = sum(states.values())
        temporary = self.step_temporary() + self.trace.inputs
        total, gradients, buckets, activations = self.best
        return StepMemory(
            parameters_trained=states['parameters_trained'],
            parameters_frozen=states['parameters_frozen'],
            gathered=states.get('gathered', 0),
            optimizer=states['optimizer'],
            gradients=gradients + states.get('gradients', 0),
            buckets=buckets + states.get('buckets', 0),
            activations=activations,
            step_temporary=temporary,
            forward_backward=always + total,
            step=always + temporary - states.get('gathered', 0),
            offloaded=offloaded,
        )


class _Replicated(_Walk):
    """One device, DDP, or ZeRO stage 0: every process keeps everything."""

    def on_gradient(self, numel: int, parameter: int, live: int) -> None:
        if self.kept < self.trained * self.unit:  # later micro-batches add in place
            self.kept += numel * self.unit

    def after_backward(self, *, last: bool) -> None:
        if last and self.plan.stage == 0:  # gradients are concatenated for the reduction
            self.note(self.trace.inputs, min(self.trained, STAGE_0_BUCKET) * self.unit)

    def states(self) -> dict[str, int]:
        master = FLOAT32 * self.trained if self.unit < FLOAT32 else 0
        return {
            'parameters_trained': self.trained * self.unit,
            'parameters_frozen': self.frozen * self.unit - self.trace.quantized + self.trace.buffers,
            'optimizer': ADAM_STATES * self.trained + master,
            'buckets': self.trained * self.unit if self.plan.copied_gradients else 0,
        }

    def step_temporary(self) -> int:
        copies = FLOAT32 * self.trained if self.unit < FLOAT32 else 0  # gradients in float32
        return self.kept + copies + adam_temporaries(self.trace.trained, self.plan.device)


class _Partitioned(_Walk):
    """ZeRO stages 1 and 2: each process updates its share of the flat parameters."""

    def __init__(self, trace: Trace, plan: MemoryPlan, rank: int):
        super().__init__(trace, plan, rank)
        aligned = 2 * plan.processes
        self.part = math.ceil(self.trained / aligned) * aligned // plan.processes  # elements
        begins = [sum(trace.trained[:number]) for number in range(len(trace.trained))]
        low, high = rank * self.part, (rank + 1) * self.part
        self.own = {n for n, (b, size) in enumerate(zip(begins, trace.trained, strict=True)) if b < high and b + size > low}
        self.split = {
            n for n, (b, s) in enumerate(zip(begins, trace.trained, strict=True)) if b // self.part != (b + s - 1) // self.part
        }
        self.owner = [begin // self.part for begin in begins]
        self.own_numel = sum(trace.trained[number] for number in self.own)
        self.accumulated = 0  # bytes of the gradients of earlier micro-batches
        self.in_bucket: list[int] = []
        self.oversized = 0  # bytes of gradients that wait outside the bucket
        self.waiting: list[int] = []  # stage 1: parameters whose gradients stay where backward put them

    @property
    def reduces_at_once(self) -> bool:
        """Whether gradients enter the bucket as they arrive."""
        return self.plan.stage == 2 or (self.plan.overlap and self.last)

    def micro_batch(self, *, last: bool) -> None:
        self.last = last
        self.partition_ready = False
        self.kept_before = self.kept
        super().micro_batch(last=last)

    def on_gradient(self, numel: int, parameter: int, live: int) -> None:
        if not self.buckets:
            self.buckets = (2 if self.plan.overlap else 1) * self.plan.bucket * self.unit
            self.note(live)
        if not self.reduces_at_once:
            if self.kept < self.kept_before + self.trained * self.unit and not (self.kept_before and self.plan.stage == 1):
                self.kept += numel * self.unit
            return
        self.add(parameter, live)

    def add(self, parameter: int, live: int) -> None:
        """Put a gradient into the bucket; empty a full bucket first."""
        numel = self.trace.trained[parameter]
        if sum(self.trace.trained[n] for n in self.in_bucket) + numel > self.plan.bucket:
            self.flush(live)
        self.in_bucket.append(parameter)
        if numel > self.plan.bucket:
            self.oversized += numel * self.unit
            self.kept += numel * self.unit

    def flush(self, live: int) -> None:
        """Reduce the bucket; gradients that this process updates are copied out."""
        if not self.in_bucket:
            return
        owners = {self.owner[n] for n in self.in_bucket}
        if len(owners) > 1 or self.split & set(self.in_bucket):  # slices for several processes are concatenated again
            self.note(live, sum(self.trace.trained[n] for n in self.in_bucket) * self.unit)
        if self.own & set(self.in_bucket) and not self.partition_ready and self.plan.offload is None:
            self.partition_ready = True
            self.kept += self.own_numel * self.unit
            self.note(live)
        self.kept -= self.oversized
        self.oversized = 0
        self.in_bucket.clear()

    def after_backward(self, *, last: bool) -> None:
        live = self.trace.inputs
        if not self.reduces_at_once and last:  # stage 1: all gradients exist; each moves to the bucket
            for number, numel in enumerate(self.trace.trained):
                if numel <= self.plan.bucket:
                    self.add(number, live)
                    self.note(live)
                    self.kept -= numel * self.unit
                else:
                    self.kept -= numel * self.unit  # add() counts it as waiting
                    self.add(number, live)
        if self.reduces_at_once or last:
            self.flush(live)
        self.buckets = 0

    def states(self) -> dict[str, int]:
        optimizer = (FLOAT32 + ADAM_STATES) * self.part
        offload = self.plan.offload is not None
        largest = max(self.trace.trained, default=0)
        return {
            'parameters_trained': self.trained * self.unit,
            'parameters_frozen': self.frozen * self.unit - self.trace.quantized + self.trace.buffers,
            'optimizer': 0 if offload else optimizer,
            'buckets': largest * self.unit if offload else 0,  # one gradient moving to the CPU
            # gradients in float32, parameters moving back, and gradients of earlier micro-batches
            'offloaded': optimizer + (FLOAT32 + 2 * self.unit) * self.part + largest * self.unit if offload else 0,
        }

    def step_temporary(self) -> int:
        largest = max((self.trace.trained[n] for n in self.own), default=0)
        if self.plan.offload is not None:
            return 0
        norm = self.kept + FLOAT64 * min(largest, self.part)
        flat = self.kept + (self.unit + (FLOAT32 if self.unit < FLOAT32 else 0)) * self.part
        return max(norm, flat, FLOAT32 * self.part + adam_temporaries([self.part], self.plan.device))


class _Sharded(_Walk):
    """ZeRO stage 3: parameters are sharded too, and gathered for use."""

    def __init__(self, trace: Trace, plan: MemoryPlan, rank: int):
        super().__init__(trace, plan, rank)
        self.parts = [math.ceil(numel / plan.processes) for numel in trace.trained]
        self.bucket_fill = 0
        self.outside = 0

    def on_gradient(self, numel: int, parameter: int, live: int) -> None:
        if self.bucket_fill and self.bucket_fill + numel > self.plan.bucket:
            self.flush(live)
        if self.bucket_fill + numel > self.plan.bucket:
            self.outside += numel * self.unit
            self.kept += numel * self.unit
        self.bucket_fill += numel

    def flush(self, live: int) -> None:
        """Reduce the bucket; gradients are reordered by process, which takes a copy."""
        self.note(live, self.bucket_fill * self.unit)
        self.kept -= self.outside
        self.bucket_fill = self.outside = 0

    def after_backward(self, *, last: bool) -> None:
        self.flush(self.trace.inputs)

    def gathered(self) -> int:
        """Gathered elements at the peak: those reused within the reuse distance, and those prefetched.

        Between a use in forward and the next in backward, all later parameters occur twice: half the distance.
        """
        used = self.trained + self.frozen
        largest = max([*self.trace.trained, *self.trace.frozen], default=0)
        return min(used, self.plan.reuse_distance // 2 + self.plan.prefetch + largest)

    def states(self) -> dict[str, int]:
        plan, part = self.plan, sum(self.parts)
        frozen = sum(math.ceil(numel / plan.processes) for numel in self.trace.frozen)
        master = FLOAT32 * part if self.unit < FLOAT32 or plan.offload else 0
        optimizer, gradients = ADAM_STATES * part + master, self.unit * part
        offloaded = 0
        if plan.offload:
            offloaded = optimizer + gradients + FLOAT32 * part
            optimizer = gradients = 0
        parameters = [part * self.unit, frozen * self.unit]
        if plan.offload == 'all':
            offloaded += sum(parameters)
            parameters = [0, 0]
        return {
            'parameters_trained': parameters[0],
            'parameters_frozen': parameters[1] + self.trace.buffers,
            'gathered': self.gathered() * self.unit,
            'optimizer': optimizer,
            'gradients': gradients,
            'buckets': plan.bucket * self.unit,
            'offloaded': offloaded,
        }

    def step_temporary(self) -> int:
        if self.plan.offload:
            return 0
        part = sum(self.parts)
        flat = self.unit * part + (FLOAT32 * part if self.unit < FLOAT32 else 0)
        return max(flat, FLOAT32 * part + adam_temporaries([part], self.plan.device))
