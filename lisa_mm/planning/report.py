"""Report whether a config fits on GPUs of a given size, and which edits would make it fit."""

from __future__ import annotations

import copy
import inspect
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mmengine.config import Config

from ..config.compile import datasets_in, with_weights
from ..config.edits import apply_option
from ..datasets.transforms import EncodeConversations
from ..engine.strategies.memory_plan import MemoryUnknownError
from ..errors import ConfigError
from ..registry import LANGUAGE_MODELS, MLLMS, takes
from .batch import ANSWER, BatchShape, image_inputs
from .host import HostMemory, host_memory
from .plans import plan_of, savings_of
from .step import StepMemory, step_memory
from .trace import Trace, trace_step

GIB = 2**30
RESERVE = 1.5 * GIB  # assumed: CUDA's context, NCCL's buffers, fragmentation of the allocator
# Assumptions that no config contains; memory changes if the data differs
ASSUMED_SIZE = (768, 1024)  # (H, W) of an image file in pixels, which masks are resized to
ASSUMED_TEXT = 256  # tokens besides the image if nothing cuts a row
# Data set arguments that determine the rows per image
ROWS = ('classes_per_image', 'sentences_per_image', 'texts_per_image', 'others_per_image', 'phrases_per_image')
LORA = {'r': 8, 'lora_alpha': 16, 'lora_dropout': 0.05, 'target_modules': ['q_proj', 'v_proj']}  # from the published recipe


@dataclass(frozen=True)
class Estimate:
    """The memory of a config.

    Args:
        memory: Memory of one GPU.
        trace: Allocations of a micro-batch.
        batch: The assumed shape of the batch.
        share_prefix: Whether the rows of an image go behind one prefix.
        host: Memory of the host while the model is built.
    """

    memory: StepMemory
    trace: Trace
    batch: BatchShape
    share_prefix: bool
    host: HostMemory


class Estimator:
    """Calculates the memory of variants of a config; each model and batch runs only once.

    Args:
        processes: Number of GPUs.
        device: 'cuda', or 'cpu' to compare with a measurement.
        size: Height and width of the images in pixels.
    """

    def __init__(self, processes: int, *, device: str = 'cuda', size: tuple[int, int] = ASSUMED_SIZE):
        self.processes, self.device, self.size = processes, device, size
        self._traces: dict[str, tuple[Trace, BatchShape, bool, HostMemory]] = {}

    def estimate(self, source: dict[str, Any]) -> Estimate:
        """Estimate a source config, given as a dict.

        Raises:
            ConfigError: for a strategy that cannot run on this many processes, or parts whose files are absent.
        """
        loader = source.get('train_dataloader')
        if not loader:
            raise ConfigError('the config has no train_dataloader: there is no training to calculate the memory of.')
        plan = plan_of(
            source.get('strategy'), processes=self.processes, micro_batch=int(loader['batch_size']), device=self.device
        )
        pipeline = [step for dataset, _ in datasets_in(loader.get('dataset'), '') for step in dataset.get('pipeline') or []]
        key = repr((source['model'], loader['batch_size'], _limits(pipeline), plan.half))
        if key not in self._traces:
            self._traces[key] = self._trace(source['model'], loader, pipeline, plan.half)
        trace, batch, share_prefix, host = self._traces[key]
        return Estimate(step_memory(trace, plan), trace, batch, share_prefix, host)

    def _trace(
        self, parts: dict[str, Any], loader: Mapping[str, Any], pipeline: list[Any], half: bool
    ) -> tuple[Trace, BatchShape, bool, HostMemory]:
        import torch

        model = build_on_shapes(parts)
        if getattr(getattr(model.mllm.decoder, 'config', None), '_attn_implementation', None) == 'flex_attention':
            raise MemoryUnknownError("attention='flex_attention' is not calculated. Check the config with 'sdpa'.")
        host = host_memory(parts, model, processes=self.processes, half=half)
        with torch.device('meta'):
            image_tokens = image_inputs(model)[2]
        total, text = _limits(pipeline)
        tokens = image_tokens + (text or ASSUMED_TEXT)
        if total is not None:
            tokens = min(tokens, total) if text else total
        # an image is kept or cut as a whole, so a smaller limit would leave nothing to train
        tokens = max(tokens, image_tokens + ANSWER + 2)
        batch = BatchShape(int(loader['batch_size']), rows_of_an_image(loader), tokens, self.size)
        return trace_step(model, batch, half=half, device=self.device), batch, model.mllm.share_prefix, host


def build_on_shapes(parts: dict[str, Any]) -> Any:
    """Build the model on the meta device; tokenizers and processors may be absent."""
    from ..models import model_class
    from ..models.phases import shapes_only

    arguments = {key: value for key, value in with_weights(copy.deepcopy(parts)).items() if key != 'type'}
    with shapes_only():
        model = model_class(parts.get('type'))(**arguments)
    if model.seg_token_id is None:
        model.set_mask_tokens([5])  # without a tokenizer; any embedding row will do here
    return model


def _limits(pipeline: list[Any]) -> tuple[int | None, int | None]:
    """Maximum tokens of a row: with its image, and of its text alone."""
    step = next((step for step in pipeline if step.get('type') == 'EncodeConversations'), None)
    if step is None:
        return None, None
    defaults = inspect.signature(EncodeConversations).parameters
    total, text = (step.get(name, defaults[name].default) for name in ('max_length', 'max_text_length'))
    return total, text


def rows_of_an_image(loader: Mapping[str, Any]) -> int:
    """Maximum number of conversations per image in the training data sets, from their arguments."""
    from ..registry import DATASETS

    most = 1
    for dataset, _ in datasets_in(loader.get('dataset'), ''):
        cls = DATASETS.get(dataset.get('type')) if isinstance(dataset.get('type'), str) else dataset.get('type')
        if cls is None or dataset.get('datasets'):
            continue
        parameters = inspect.signature(cls).parameters
        most = max(most, sum(int(dataset.get(name, parameters[name].default)) for name in ROWS if name in parameters))
    return most


def memory_report(source: Config, *, gpus: int, gpu_memory: float | None = None) -> dict[str, Any]:
    """The memory of one GPU by item, whether it fits, and which edits would make it fit.

    Args:
        source: A config from :func:`lisa_mm.config.load_config`.
        gpus: Number of GPUs.
        gpu_memory: Memory of each in GiB; without it the report does not judge whether the config fits.

    Returns:
        Bytes by name (``parameters_trained``, ``parameters_frozen``, ``gradients``, ``optimizer``, ``buckets``, ``activations``,
        ...), ``peak``, ``reserve``, ``assumed``, ``cpu``; with ``gpu_memory`` also ``fits`` and ``edits``.

    Raises:
        ConfigError: for numbers that are not positive, or a model that cannot be built.
    """
    _check_numbers(gpus, gpu_memory)
    estimator, written = Estimator(gpus), source.to_dict()
    estimate = estimator.estimate(written)
    memory, trace, batch = estimate.memory, estimate.trace, estimate.batch
    report: dict[str, Any] = {
        'gpus': gpus,
        **asdict(memory),
        'peak': memory.peak,
        'reserve': int(RESERVE),
        'sam_encoder': trace.encoder,
        'vision': trace.vision,
        'activations_with_checkpointing': _with_checkpointing(estimator, written, True),
        'activations_without_checkpointing': _with_checkpointing(estimator, written, False),
        'cpu': {
            'offloaded': memory.offloaded * gpus,
            'loading': estimate.host.private,
            'files': estimate.host.files,
        },
        'assumed': {
            'images': batch.images,
            'rows_of_an_image': batch.rows,
            'tokens_of_a_row': batch.tokens,
            'share_prefix': estimate.share_prefix,
            'image_size': list(batch.size),
        },
    }
    if gpu_memory is not None:
        limit = gpu_memory * GIB - RESERVE
        report |= {'gpu_memory': gpu_memory, 'fits': memory.peak <= limit}
        report['edits'] = [] if report['fits'] else list(find_edits(estimator, written, limit))
    return report


def add_memory(report: dict[str, Any], source: Config, gpus: int | None, gpu_memory: float | None) -> None:
    """Add ``memory`` to a report of :func:`lisa_mm.apis.checking.check_config`; obstacles become faults of the report.

    Raises:
        ConfigError: for meaningless numbers.
    """
    if gpus is None:
        if gpu_memory is not None:
            raise ConfigError('--gpu-memory says how large a GPU is, but not how many there are: give --gpus N too.')
        return
    _check_numbers(gpus, gpu_memory)
    try:
        report['memory'] = memory_report(source, gpus=gpus, gpu_memory=gpu_memory)
    except MemoryUnknownError as error:
        report['not_checked'].append(f'memory: {error}')
    except ConfigError as error:
        missing = [what.removesuffix(' missing') for what in report['not_checked']]
        for fault in error.faults:
            # an architecture that is only in an absent folder is not a fault of the config
            absent = any(file in fault for file in missing)
            report['not_checked' if absent else 'faults'].append(f'memory: {fault}')


def _check_numbers(gpus: int, gpu_memory: float | None) -> None:
    if gpus < 1:
        raise ConfigError(f'--gpus is {gpus}; it must be at least 1.')
    if gpu_memory is not None and not 0 < gpu_memory < math.inf:
        raise ConfigError(f'--gpu-memory is {gpu_memory:g}; give the memory of one GPU in GiB, e.g. 24.')


def _checkpointing_key(source: dict[str, Any]) -> str | None:
    """The option for recomputing activations; None if the language model has none."""
    mllm = source['model']['mllm']
    if 'language_model' in mllm:
        given = takes(LANGUAGE_MODELS, mllm['language_model'], 'gradient_checkpointing')
        return 'model.mllm.language_model.gradient_checkpointing' if given else None
    return 'model.mllm.gradient_checkpointing' if takes(MLLMS, mllm, 'gradient_checkpointing') else None


def _with_checkpointing(estimator: Estimator, source: dict[str, Any], on: bool) -> int | None:
    key = _checkpointing_key(source)
    return None if key is None else estimator.estimate(edited(source, [f'{key}={on}'])).trace.peak


def edited(source: dict[str, Any], options: Sequence[str]) -> dict[str, Any]:
    """A copy of a config with options applied."""
    changed = copy.deepcopy(source)
    for option in options:
        apply_option(changed, option)
    return changed


def possible_edits(source: dict[str, Any], gpus: int) -> Iterator[list[str]]:
    """Options that may save memory, the least intrusive first."""
    model = source['model']
    part, key = model['mllm'].get('language_model', model['mllm']), _checkpointing_key(source)
    if key is not None and not part.get('gradient_checkpointing'):
        yield [f'{key}=True']
    yield from savings_of(source.get('strategy'), processes=gpus)
    if int(source['train_dataloader']['batch_size']) > 1:
        yield ['train_dataloader.batch_size=1']
    for dataset, path in datasets_in(source['train_dataloader'].get('dataset'), 'train_dataloader.dataset'):
        for number, step in enumerate(dataset.get('pipeline') or []):
            if step.get('type') == 'EncodeConversations' and (step.get('max_text_length') or 0) > 128:
                yield [f'{path}.pipeline.{number}.max_text_length=128']
    if model.get('tuning') == 'full':
        yield ['model.tuning=None', f'model.lora={LORA!r}'.replace(' ', '')]
    if model.get('train_embeddings', True) is True:
        yield ['model.train_embeddings=new_rows']


def find_edits(estimator: Estimator, source: dict[str, Any], limit: float) -> Iterator[dict[str, Any]]:
    """Single edits with their peaks; if none is enough, edits combined until they are, as far as possible."""
    choices = list(possible_edits(source, estimator.processes))
    found = [entry for options in choices if (entry := _try(estimator, source, options, limit))]
    yield from found
    together: list[str] = []
    best = None
    while found and not any(entry['fits'] for entry in found):
        smallest = min(found, key=lambda entry: entry['peak'])
        if best is not None and smallest['peak'] >= best:
            return  # nothing saves any more memory
        best, together = smallest['peak'], smallest['options']
        rest = list(possible_edits(edited(source, together), estimator.processes))
        found = [entry for options in rest if (entry := _try(estimator, source, [*together, *options], limit))]
    if together:
        fitting = [entry for entry in found if entry['fits']]
        yield from fitting[:1]


def _try(estimator: Estimator, source: dict[str, Any], options: list[str], limit: float) -> dict[str, Any] | None:
    try:
        peak = estimator.estimate(edited(source, options)).memory.peak
    except ConfigError:
        return None  # for example, a batch that does not divide
    return {'options': options, 'peak': peak, 'fits': peak <= limit}


def memory_text(report: dict[str, Any]) -> list[str]:
    """The report as lines of text."""

    def line(name: str, value: float, note: str = '') -> str:
        return f'  {name:42s} {value / GIB:8.2f} GiB{"  " + note if note else ""}'

    assumed = report['assumed']
    count = report['gpus']
    lines = [
        f'memory      of each of {count} GPU{"" if count == 1 else "s"}, calculated (measurements of others: docs/gpu.md), '
        f'for {assumed["images"]} images x '
        f'{assumed["rows_of_an_image"]} rows x {assumed["tokens_of_a_row"]} tokens, '
        f'masks of {assumed["image_size"][0]} x {assumed["image_size"][1]} pixels (assumed)'
        + (', rows of an image behind one prefix' if assumed['share_prefix'] and assumed['rows_of_an_image'] > 1 else ''),
        line('parameters, frozen', report['parameters_frozen']),
        line('parameters, trained', report['parameters_trained']),
    ]
    if report['gathered']:
        lines.append(line('parameters made whole for use (ZeRO-3)', report['gathered']))
    lines += [
        line('optimizer', report['optimizer'], 'float32 weights and two moments' if report['parameters_trained'] else ''),
        line('gradients', report['gradients']),
        line('buckets for communication', report['buckets']),
        line('activations and temporaries', report['activations'], 'at the moment of the peak'),
        *(
            [
                line('  most, with gradient checkpointing', report['activations_with_checkpointing']),
                line('  most, without', report['activations_without_checkpointing']),
            ]
            if report['activations_with_checkpointing'] is not None
            else []
        ),
        line("  SAM's image encoder alone", report['sam_encoder'], 'gone before the masks' if report['sam_encoder'] else ''),
        line('  vision tower alone', report['vision']),
        line('peak of forward and backward', report['forward_backward']),
        line("peak of the optimizer's step", report['step']),
        line('reserve', report['reserve'], 'assumed: CUDA, NCCL, fragmentation'),
        line('needed', report['peak'] + report['reserve']),
        f'  CPU: {report["cpu"]["loading"] / GIB:.1f} GiB while {count} processes build the model, beside the '
        f'{report["cpu"]["files"] / GIB:.1f} GiB of weight files, which they share'
        + (f'; {report["cpu"]["offloaded"] / GIB:.0f} GiB for what is offloaded' if report['cpu']['offloaded'] else ''),
    ]
    if 'fits' not in report:
        return lines
    verdict = 'fits' if report['fits'] else 'does not fit'
    lines.append(f'  {verdict} into {report["gpu_memory"]:g} GiB')
    for title, fits in (('would fit with', True), ('not enough alone', False)):
        chosen = [edit for edit in report['edits'] if edit['fits'] == fits]
        lines += [f'  {title}:'] if chosen else []
        for edit in chosen:
            options = ' '.join(shlex.quote(option) for option in edit['options'])
            lines.append(f'    --cfg-options {options}  ({(edit["peak"] + report["reserve"]) / GIB:.2f} GiB)')
    if not report['fits'] and not any(edit['fits'] for edit in report['edits']):
        lines.append('  no edit known here makes it fit: take more GPUs or larger ones')
    return lines
