"""Check a config in seconds, without weights, data or a GPU."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..config.checks import files_of
from ..config.compile import DATALOADERS, compile_with_model, datasets_in, with_weights
from ..config.files import without_replaced_parts
from ..config.load import load_config
from ..datasets.transforms import EncodeConversations
from ..errors import ConfigError, UserError
from ..models import LISA
from ..models.base import BaseMLLM
from ..models.tuning import TunedGroup, tuned_groups, tuning_table
from ..planning.report import add_memory, memory_text
from ..tokens import SEG_TOKEN
from .examples import example_conversation

PROCESSES = (1, 2, 4, 8)
IMAGE_SIZES = ((480, 640), (336, 336), (1024, 1024), (427, 1280))  # (H, W) to show


def check_config(
    path: str | Path,
    swaps: Iterable[str] = (),
    options: Iterable[str] = (),
    *,
    gpus: int | None = None,
    gpu_memory: float | None = None,
) -> dict[str, Any]:
    """Compile a config and report on it; nothing that needs a missing file is called ok.

    Args:
        path: A config file.
        swaps, options: See :func:`lisa_mm.config.load_config`.
        gpus, gpu_memory: See :func:`lisa_mm.planning.report.memory_report`.

    Returns:
        ``{'config', 'ok', 'faults', 'not_checked', ...}``, with ``gpus`` also ``memory``; without faults also ``parts``,
        ``tokens``, ``template``, ``lora``, ``parameters``, ``groups`` (what is trained), ``batch``, ``files`` and ``datasets``.
        ``ok`` means that there is no fault, not that everything was checked.
    """
    report: dict[str, Any] = {'config': str(path), 'ok': False, 'faults': [], 'not_checked': []}
    try:
        source = without_replaced_parts(load_config(path, swaps, options))
    except ConfigError as error:
        report['faults'] = list(error.faults)
        return report
    files = dict(files_of(with_weights({k: source.get(k) for k in ('model', 'load_from')})))
    report['files'] = {key: {'path': file, 'present': Path(file).exists()} for key, file in files.items()}
    missing = sorted({entry['path'] for entry in report['files'].values() if not entry['present']})
    report['not_checked'] += [f'{file} missing' for file in missing]
    add_memory(report, source, gpus, gpu_memory)
    try:
        compiled, model = compile_with_model(source)
    except ConfigError as error:
        # a part whose architecture is only in its absent folder can't be built: that is not a fault of the config
        report['faults'] = [fault for fault in error.faults if not any(file in fault for file in missing)]
        report['not_checked'] += [f'model: {fault}' for fault in error.faults if fault not in report['faults']]
        report['ok'] = not report['faults']
        return report
    describe_model(model, compiled, report)
    describe_batch(compiled, report)
    describe_mixture(compiled, report)
    describe_datasets(compiled, report)
    report['ok'] = not report['faults']
    return report


def describe_model(model: LISA, compiled: Config, report: dict[str, Any]) -> None:
    """Describe parts with widths, tokens, the template's example, LoRA and parameters."""
    from ..engine.hooks.parameters_hook import count_parameters, learning_rates

    mllm, decoder = model.mllm, model.mask_decoder
    written = compiled.model
    spec = mllm.tokenizer_spec
    by_size = image_tokens_by_size(mllm, report)
    image_tokens = next(iter(by_size.values()), None)
    parts: dict[str, dict[str, Any]] = {'mllm': {'type': written.mllm.type, 'width': mllm.hidden_size}}
    for name, width in (('vision_tower', 'out_channels'), ('projector', None), ('language_model', 'hidden_size')):
        if name in written.mllm:
            part = getattr(mllm, name)
            parts[f'mllm.{name}'] = {
                'type': written.mllm[name].type,
                'width': getattr(part, width) if width else mllm.hidden_size,
            }
    parts |= parts_inside(mllm)
    parts['seg_head'] = {'type': written.seg_head.type, 'width': decoder.prompt_dim}
    parts['mask_decoder'] = {'type': written.mask_decoder.type, 'width': decoder.prompt_dim, **decoder.preprocess}
    report['parts'] = parts

    cut = next((t for t in transforms_of(compiled) if t.get('type') == 'EncodeConversations'), {})
    total = cut.get('max_length', inspect.signature(EncodeConversations).parameters['max_length'].default)
    limits = [int(total)] if total else []
    limits += [int(cut['max_text_length']) + image_tokens] if cut.get('max_text_length') and image_tokens is not None else []
    report['tokens'] = {
        'image_tokens': image_tokens,
        **({'image_tokens_by_size': by_size} if mllm.tokens_by_image else {}),
        'tokens_per_row': min(limits) if limits else None,
        'seg_token_id': model.seg_token_id,
        'mask_tokens': dict(zip(spec['mask_tokens'], model.mask_token_ids, strict=False)),
        'answer_tokens': list(spec['answer_tokens']),
        'embedding_rows': mllm.vocab_size,
    }
    if model.seg_token_id is None:
        report['not_checked'].append(f'id of [SEG]: {spec["pretrained"]} missing')
    example = example_conversation(spec, image_tokens or 0)
    report['template'] = {
        'name': spec['template'],
        'example': example.text,
        'carries_loss': example.trained,
        'tokens': example.tokens,
        'round_trip': 'not checked' if example.missing else not example.faults,
    }
    report['faults'] += example.faults
    if example.missing:
        report['not_checked'].append(f'round trip of the template, ids: {example.missing} missing')
    targets = Counter(name.rsplit('.', 1)[-1] for name in getattr(model, 'lora_targets', []))
    report['lora'] = {'modules': sum(targets.values()), 'by_name': dict(targets)} if written.get('lora') else None
    report['parameters'] = {
        part: {'all': total, 'trained': trained} for part, (total, trained) in count_parameters(model).items()
    }
    report['rates'] = learning_rates(model, compiled.get('optim_wrapper') or {})
    report['groups'] = [asdict(group) for group in tuned_groups(model)]


def image_tokens_by_size(mllm: Any, report: dict[str, Any]) -> dict[str, int]:
    """Number of image tokens by image size in pixels; empty if a whole model's processor gives it and is absent."""
    if not mllm.tokens_by_image:
        return {'any': mllm.num_image_tokens(0, 0)}
    processor = mllm.preprocess['processor']
    if not Path(processor).is_dir():
        report['not_checked'].append(f'tokens of an image, which the processor says: {processor} missing')
        return {}
    return {f'{height} x {width}': mllm.num_image_tokens(height, width) for height, width in IMAGE_SIZES}


def parts_inside(mllm: BaseMLLM) -> dict[str, dict[str, Any]]:
    """Vision tower and language model of a whole model, by its architecture."""
    config = getattr(getattr(mllm, 'model', None), 'config', None)
    inside = {}
    for name, key in (('vision_tower', 'vision_config'), ('language_model', 'text_config')):
        part = getattr(config, key, None)
        if part is not None:
            layers = getattr(part, 'num_hidden_layers', None) or getattr(part, 'depth', None)
            inside[f'mllm.{name}'] = {'type': f'{part.model_type} (inside)', 'width': part.hidden_size, 'layers': layers}
    return inside


def transforms_of(compiled: Config) -> Iterator[Any]:
    """The transforms of the training data sets."""
    loader = compiled.get('train_dataloader')
    for dataset, _ in datasets_in(loader.get('dataset') if loader else None, ''):
        yield from dataset.get('pipeline') or []


def describe_batch(compiled: Config, report: dict[str, Any]) -> None:
    """Describe effective batch, steps, samples, and the accumulation on 1 to 8 processes."""
    from ..engine.strategies.batch import resolve_accumulation

    loader, strategy = compiled.get('train_dataloader'), compiled.get('strategy') or {}
    if not loader:
        return
    micro, target = int(loader.batch_size), strategy.get('target_batch')
    accumulation: dict[int, int] = {}
    for processes in PROCESSES:
        try:
            accumulation[processes] = resolve_accumulation(
                accumulation=strategy.get('accumulation'), target_batch=target, micro_batch=micro, world_size=processes
            )
        except ConfigError as error:
            if processes == 1:
                report['faults'] += error.faults
    steps = int((compiled.get('train_cfg') or {}).get('max_iters', 0))
    report['batch'] = {
        'images_per_forward': micro,
        'accumulation': accumulation,
        'images_per_step': target or micro * accumulation.get(1, 1),
        'depends_on_processes': target is None,
        'steps': steps,
        'samples': steps * (target or micro * accumulation.get(1, 1)),
    }


def describe_mixture(compiled: Config, report: dict[str, Any]) -> None:
    """Describe share and data sets of each group of a mixture."""
    from ..datasets.mixture import shares

    dataset = (compiled.get('train_dataloader') or {}).get('dataset') or {}
    if dataset.get('type') != 'MixtureDataset':
        return
    report['mixture'] = {
        group: {
            'share': share,
            'datasets': [' '.join(filter(None, [d['type'], d.get('name'), d.get('split')])) for d in dataset['datasets'][group]],
        }
        for group, share in shares(dataset['datasets'], dataset.get('rates')).items()
    }


def describe_datasets(compiled: Config, report: dict[str, Any]) -> None:
    """Describe which data sets exist and their number of records; a broken record is a fault."""
    from ..registry import DATASETS

    report['datasets'] = {}
    for name in DATALOADERS:
        loader = compiled.get(name)
        for dataset, where in datasets_in(loader.get('dataset') if loader else None, f'{name}.dataset'):
            if dataset.get('datasets'):
                continue
            root = str(dataset.get('data_root') or 'data_root')
            if not Path(root).is_dir():
                report['datasets'][where] = {'type': dataset.type, 'records': None}
                report['not_checked'].append(f'{where}: {root} missing')
                continue
            try:
                built = DATASETS.build({**dataset.to_dict(), 'pipeline': []})
            except UserError as error:
                report['faults'].append(f'{where}: {error}')
                continue
            report['datasets'][where] = {'type': dataset.type, 'records': len(built)}


def rates_text(rates: dict[str, list[float]]) -> str:
    """One rate for all parts, or the rates of each."""
    every = {rate for found in rates.values() for rate in found}
    if len(every) == 1:
        return f'{every.pop():g} for all that is trained'
    return ', '.join(f'{" to ".join(f"{rate:g}" for rate in found)} {part}' for part, found in rates.items())


def report_text(report: dict[str, Any]) -> str:
    """The report as text."""
    lines = [f'config      {report["config"]}']
    for part, entry in report.get('parts', {}).items():
        lines.append(f'  {part:22s} {entry["type"]}, width {entry["width"]}')
    if 'tokens' in report:
        tokens, template, batch = report['tokens'], report['template'], report.get('batch')
        ids = {SEG_TOKEN: tokens['seg_token_id'], **tokens.get('mask_tokens', {})}
        shown_ids = ', '.join(f'{token} is {"not checked" if number is None else number}' for token, number in ids.items())
        by_size = ', '.join(f'{count} at {size}' for size, count in tokens.get('image_tokens_by_size', {}).items())
        shown = by_size or ('not checked' if tokens['image_tokens'] is None else tokens['image_tokens'])
        longest = 'not checked' if tokens['tokens_per_row'] is None else tokens['tokens_per_row']
        lines += [
            f'tokens      {shown} an image, at most {longest} a row in training; {shown_ids} of {tokens["embedding_rows"]} rows',
            f'template    {template["name"]}, what carries loss in «»:',
            '  ' + (template['example'].replace('\n', '\\n') or 'not checked: it needs the folder of the tokenizer'),
        ]
        if template['round_trip'] is True:
            lines.append(f'  round trip ok: {template["tokens"]} tokens say what went in')
        lora = report['lora']
        by_name = ', '.join(f'{count} {name}' for name, count in lora['by_name'].items()) if lora else ''
        lines.append(f'LoRA        {lora["modules"]} modules: {by_name}' if lora else 'LoRA        none')
        table = tuning_table(TunedGroup(**group) for group in report['groups'])
        lines += ['parameters', *('  ' + line for line in table.splitlines())]
        if batch:
            accumulated = ', '.join(f'{count} on {n}' for n, count in batch['accumulation'].items())
            per_step = f'{batch["images_per_step"]} images a step' + (' and process' if batch['depends_on_processes'] else '')
            lines += [
                f'batch       {per_step} = {batch["images_per_forward"]} a forward, accumulated {accumulated} processes',
                f'rates       {rates_text(report["rates"])}',
                f'steps       {batch["steps"]:,} x {batch["images_per_step"]} = {batch["samples"]:,} samples',
            ]
    for key, entry in report.get('files', {}).items():
        lines.append(f'file        {key}: {entry["path"]}{"" if entry["present"] else " missing"}')
    for group, entry in report.get('mixture', {}).items():
        lines.append(f'mixture     {entry["share"]:6.1%} {group}: {", ".join(entry["datasets"])}')
    for where, entry in report.get('datasets', {}).items():
        records = 'not checked' if entry['records'] is None else f'{entry["records"]:,} records'
        lines.append(f'data        {where}: {entry["type"]}, {records}')
    lines += memory_text(report['memory']) if 'memory' in report else []
    lines += [f'not checked: {what}' for what in report['not_checked']]
    lines += [f'fault: {fault}' for fault in report['faults']]
    count = len(report['faults'])
    lines.append(f'{count} fault{"" if count == 1 else "s"}, {len(report["not_checked"])} not checked')
    return '\n'.join(lines)
