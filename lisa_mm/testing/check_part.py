"""Check that a part works everywhere, on a model of a few thousand parameters."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from peft.tuners.lora import LoraLayer
from torch import Tensor

from ..apis.loading import load_model
from ..apis.training import build_runner
from ..checkpoints.exporting import export_checkpoint
from ..config.compile import compile_with_model
from ..datasets.collate import seg_collate
from ..errors import UserError
from ..models import LISA
from ..models.tuning import PLACES
from ..planning.report import memory_report
from ..registry import MODELS
from .check_data import is_data, run_data_steps
from .forms import form_faults
from .steps import run_steps
from .tiny import items_of, modules_of, slot_of, tiny_source, write_pictures

LIMIT = 300  # seconds allowed for training in several processes


def check_part(part: dict[str, Any] | type, *, processes: int = 1, **settings: object) -> list[str]:
    """Put a part into a tiny model and try all that a training does with it, on the CPU, in seconds.

    The steps: its config, building on the meta device and for real, the form of its results, two training steps,
    generation, adapters, the memory calculation, saving and loading, export. For a data set or transform: its config, records
    and items, the data doctor, two training steps. A plugin's test is one line::

        def test_my_projector():
            check_part(MyProjector)

    Args:
        part: A registered class, or its config ``dict(type=..., ...)``: a multimodal LLM, vision tower, projector, language
            model, seg head, mask decoder, image encoder, loss, subclass of LISA, data set or transform. Leave out derived widths,
            as in any config.
        processes: If more than one, the two training steps also run under ZeRO stage 2 in this many processes.
        settings: Keys of ``model`` for this check, e.g. ``lora=None``.

    Returns:
        The steps that were done.

    Raises:
        PartError: after the first failing step, with one sentence per fault.
    """
    with tempfile.TemporaryDirectory(prefix='check_part_') as folder:
        if is_data(part):
            return run_data_steps(part, Path(folder))
        return _ModelTrial(part, Path(folder), settings, processes).run()


class _ModelTrial:
    """The steps, which use each other's results."""

    shapes: LISA
    model: LISA
    compiled: Config

    def __init__(self, part: dict[str, Any] | type, folder: Path, settings: dict[str, Any], processes: int):
        self.folder, self.settings, self.processes = folder, settings, processes
        self.slot, self.written, self.cls = slot_of(part)
        self.name = f'{self.cls.__name__} ({self.slot.role})'
        write_pictures(folder)
        self.source = tiny_source(self.slot, self.written, self.cls, folder, **settings)
        self.checkpoint = folder / 'work' / 'iter_2'

    def run(self) -> list[str]:
        steps: dict[str, Callable[[], Iterable[str]]] = {
            'config': self.config,
            'build': self.build,
            'forms': self.forms,
            'step': self.step,
            'generation': self.generation,
            'lora': self.lora,
            'memory': self.memory,
            'save and load': self.save_and_load,
            'export': self.export,
        }
        if self.processes > 1:
            steps[f'{self.processes} processes'] = self.in_processes
        return run_steps(self.name, steps)

    def config(self) -> Iterator[str]:
        self.compiled, self.shapes = compile_with_model(self.source)
        yield from ()

    def build(self) -> Iterator[str]:
        self.model = self._build(0)
        planned, real = (dict(model.state_dict()) for model in (self.shapes, self.model))
        on_device = [name for name, value in planned.items() if not value.is_meta]
        if self._inside(on_device):
            yield f'on the meta device {self._inside(on_device)[0]} is not on it: make tensors on the default device'
        if planned.keys() != real.keys():
            names = sorted(planned.keys() ^ real.keys())
            yield f'on the meta device and for real it has other weights: {", ".join(names[:4])}'
        for name in sorted(planned.keys() & real.keys()):
            shapes = tuple(planned[name].shape), tuple(real[name].shape)
            if shapes[0] != shapes[1]:
                yield f'{name} has shape {shapes[0]} on the meta device and {shapes[1]} for real'
                break
        groups = {name: group for name, group in self.model.tuned.items() if name == self._group() or self._group() in name}
        if not groups and self.slot.role not in ('model', 'image encoder', 'loss'):
            yield f'trainable_groups() of the part around it does not hold it (found: {", ".join(self.model.tuned)})'

    def forms(self) -> Iterator[str]:
        inputs, samples = self._batch(self.model)
        yield from form_faults(modules_of(self.model, self.slot.place), self.model.eval(), inputs, samples)

    def step(self) -> Iterator[str]:
        model = self.model.train()
        inputs, samples = self._batch(model)
        losses = model(inputs, samples, mode='loss')
        broken = [name for name, value in losses.items() if not value.isfinite().all()]
        if broken:
            yield f'{broken[0]} is {losses[broken[0]].item()} at the first step'
            return
        sum(losses.values()).backward()  # pyright: ignore[reportAttributeAccessIssue] - some tensors
        trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
        silent = self._inside([name for name, parameter in trained.items() if parameter.grad is None])
        if silent:
            yield (
                f'{len(silent)} parameters that are trained get no gradient, such as {silent[0]}: name them in '
                'trainable_groups() as TrainableGroup(..., unused=True), or use them in forward'
            )
        frozen = self._inside([name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None])
        if frozen:
            yield f'{frozen[0]} is frozen and gets a gradient'
        model.zero_grad()
        yield from self._without_masks(model)

        runner = build_runner(self.source, self.folder / 'work')
        (self.folder / 'work').mkdir(exist_ok=True)
        (self.folder / 'work' / 'config.py').write_text(self.source.pretty_text, encoding='utf-8')
        runner.train()
        assert isinstance(runner.model, LISA)
        self.model = runner.model.eval()

    def _without_masks(self, model: LISA) -> Iterator[str]:
        """A batch without masks must reach the same parameters, through zeros: processes wait for each other's gradients."""
        inputs, samples = self._batch(model, [item for item in self._items() if not len(item['data_sample'].gt_masks)])
        sum(model(inputs, samples, mode='loss').values()).backward()  # pyright: ignore[reportAttributeAccessIssue] - some tensors
        lost = [name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None]
        model.zero_grad()
        if self._inside(lost):
            yield (
                f'a batch without masks leaves {self._inside(lost)[0]} without a gradient, which other processes would wait for: '
                'add a zero that reaches it'
            )

    def generation(self) -> Iterator[str]:
        with torch.no_grad():
            inputs, samples = self._batch(self.model, [item for item in self._items() if len(item['data_sample'].gt_masks)])
            inputs.pop('labels', None)
            together = self.model(inputs, samples, mode='generate', max_new_tokens=3)
        answers = [answer for sample in together for answer in sample.generated]
        for sample in together:
            if sample.mask_logits.shape[1:] != sample.original_size:
                yield f'masks of a generated answer are {tuple(sample.mask_logits.shape)}, the image is {sample.original_size}'
        with torch.no_grad():
            for item in self._items():
                if not len(item['data_sample'].gt_masks):
                    continue
                for row in item['inputs']['rows']:
                    alone = {**item, 'inputs': {**item['inputs'], 'rows': [row]}}
                    inputs, samples = self._batch(self.model, [alone])
                    inputs.pop('labels', None)
                    single = self.model(inputs, samples, mode='generate', max_new_tokens=3)[0].generated[0]
                    if not torch.equal(single.ids, answers.pop(0).ids):
                        yield 'generation: rows in a batch get other ids than each alone (padding must not be seen)'
                        return

    def lora(self) -> Iterator[str]:
        place = next((name for name, group in PLACES.items() if self._group() == group), None)
        if place is None or self.settings.get('lora', {}) is None:
            return
        try:
            adapters = {**(self.compiled.model.lora or {}), place: dict(r=2, target_modules='all-linear')}
            model = self._build(0, lora=adapters)
        except UserError as error:
            if 'matches no layer' in str(error) or 'trained itself' in str(error) or 'takes adapters' in str(error):
                return  # a part without linear layers, or that is trained itself, takes no adapters
            raise
        adapted = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
        if not self._inside(adapted):
            yield f'model.lora.{place} puts its adapters elsewhere: {adapted[0] if adapted else "nowhere"}'

    def memory(self) -> Iterator[str]:
        report = memory_report(self._sharded(), gpus=2, gpu_memory=80.0)
        if not report['parameters_trained'] > 0:
            yield 'the memory report finds nothing that is trained'

    def save_and_load(self) -> Iterator[str]:
        again, _ = load_model(self.folder / 'work' / 'config.py', self.checkpoint)
        yield from self._same_outputs(again, 'a checkpoint')
        other = copy.deepcopy(self.source)
        other.randomness.seed = 1
        try:
            elsewhere, _ = load_model(other, self.checkpoint)
        except UserError as error:
            yield f'a checkpoint cannot be loaded into a model of another seed: {error}'
            return
        yield from self._same_outputs(elsewhere, 'a checkpoint loaded into a model of another seed')

    def export(self) -> Iterator[str]:
        target = self.folder / 'exported'
        export_checkpoint(self.folder / 'work', target, layout='folder')
        again, _ = load_model(target / 'config.py', target)
        yield from self._same_outputs(again, 'an exported folder', tolerance=1e-4)

    def in_processes(self) -> Iterator[str]:
        source = self._sharded()
        source.train_dataloader.batch_size = 1
        file = self.folder / 'processes.py'
        file.write_text(source.pretty_text, encoding='utf-8')
        launch = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={self.processes}']
        program = ['-m', 'lisa_mm.testing', str(file), str(self.folder / 'processes')]
        ours = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT', 'LISA_MM_ALONE')
        env = {key: value for key, value in os.environ.items() if key not in ours} | {'OMP_NUM_THREADS': '1'}
        env['PYTHONPATH'] = os.pathsep.join(filter(None, sys.path))
        done = subprocess.run([*launch, *program], capture_output=True, text=True, env=env, timeout=LIMIT, check=False)
        if done.returncode:
            yield f'training in {self.processes} processes under ZeRO stage 2 failed:\n{(done.stdout + done.stderr)[-3000:]}'

    def _sharded(self) -> Config:
        source = copy.deepcopy(self.source)
        source.strategy = dict(type='LisaDeepSpeedStrategy', zero_stage=2)
        return source

    def _build(self, seed: int, **settings: object) -> LISA:
        DefaultScope.get_instance('lisa_mm', scope_name='lisa_mm')
        torch.manual_seed(seed)
        return MODELS.build({**self.compiled.model.to_dict(), **settings})

    def _items(self) -> list[dict[str, Any]]:
        return items_of(self.compiled)

    def _batch(self, model: LISA, items: list[dict[str, Any]] | None = None) -> tuple[Any, Any]:
        collate = self.compiled.train_dataloader.collate_fn
        data = seg_collate(items or self._items(), pad_token_id=collate.pad_token_id)
        data = model.data_preprocessor(data, True)
        return data['inputs'], data['data_samples']

    def _same_outputs(self, other: LISA, what: str, tolerance: float = 1e-5) -> Iterator[str]:
        for name, (wanted, got) in self._outputs(other).items():
            if wanted.shape != got.shape or not torch.allclose(wanted, got, atol=tolerance, rtol=1e-3):
                difference = (wanted - got).abs().max().item() if wanted.shape == got.shape else 'another shape'
                yield f'the model read from {what} gives other {name} (largest difference {difference})'
                return

    def _outputs(self, other: LISA) -> dict[str, tuple[Tensor, Tensor]]:
        found: list[dict[str, Tensor]] = []
        for model in (self.model, other.eval()):
            with torch.no_grad():
                out = model.tensor(*self._batch(model))
            masks = torch.cat([logits.flatten() for logits in out['mask_logits']])
            found.append({'hidden_states': out['hidden_states'], 'word_logits': out['word_logits'], 'mask_logits': masks})
        return {name: (found[0][name], found[1][name]) for name in found[0]}

    def _group(self) -> str:
        return self.slot.place.removeprefix('model.').removeprefix('model')

    def _inside(self, names: Iterable[str]) -> list[str]:
        """The names inside the part under test."""
        inside = 'losses.checked' if self.slot.role == 'loss' else self._group()
        return [name for name in names if not inside or name.startswith(f'{inside}.')]


def train_in_process(config: str, work_dir: str) -> None:
    """Run the two training steps of one of several processes."""
    source = Config.fromfile(config)
    from ..config.load import run_imports

    run_imports(source.get('custom_imports'), Path(config))
    build_runner(source, work_dir, launcher='auto').train()
