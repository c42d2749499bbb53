"""Export a trained or imported model to the published LISA layout or one folder of ours."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from torch import Tensor

from ..apis.loading import DTYPES, prepare_model, resolve
from ..config.load import load_config
from ..errors import CheckpointError, ConfigError, nearest
from ..models import LISA
from ..models.new_rows import NEW_ROWS
from ..models.weight_files import is_finite
from .exported import TOKENIZER, check_new, is_exported, read_export, write_exported
from .folder import CONFIG
from .keys import is_adapter, merged_into, without_adapters
from .ledger import Ledger, ledger_in
from .opening import ExportedModel, TrainingCheckpoint, open_checkpoint
from .published import write_published
from .recipe import HERE, HERE_TOKENIZER
from .safetensors_writer import parse_size
from .sources import TensorInfo, TensorSource, WeightFiles, read_json
from .streaming import StreamedModel, can_stream, merges
from .table import MERGED, USED, Row, Table

FORMATS = ('lisa', 'folder')


@dataclass
class WholeModel:
    """A model to write.

    Args:
        tensors: Tensors by our names, adapters merged.
        config: Source config, with paths inside its folder as ``here://``.
        tokenizer: Folder of the tokenizer's files.
        record: Contents of ``export.json``.
        table: What happens to every tensor.
        ledger: What it was trained on; None if that is not recorded.
    """

    tensors: TensorSource
    config: dict[str, Any]
    tokenizer: Path
    record: dict[str, Any]
    table: Table
    ledger: Ledger | None


def export_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    checkpoint: str | Path | None = None,
    layout: str = 'lisa',
    dtype: str | None = None,
    max_shard_size: str = '10GB',
    vision_tower_name: str | None = None,
) -> Table:
    """Write a model in one of two layouts.

    Args:
        source: A folder of ours, a work folder or checkpoint of training, or a config with ``checkpoint``.
        target: The folder to write; must not exist.
        checkpoint: A checkpoint, if ``source`` is a config.
        layout: ``'lisa'``: the layout of xinlai/LISA-*. ``'folder'``: our own.
        dtype: 'float32', 'bfloat16' or 'float16' for floating-point tensors; unchanged if left out.
        max_shard_size: Maximum size of a shard; 10GB as in the published ones.
        vision_tower_name: Name in config.json of the vision tower, which layout 'lisa' does not contain; the imported one's, else
            openai/clip-vit-large-patch14.

    Returns:
        What happened to every tensor.

    Raises:
        CheckpointError: if the model does not fit the layout; nothing is written then.
    """
    if layout not in FORMATS:
        raise ConfigError(f'--format {layout!r} is unknown.{nearest(layout, FORMATS)}')
    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(f'--dtype {dtype!r} is unknown.{nearest(dtype, DTYPES)}')
    check_new(target)
    size = parse_size(max_shard_size)
    whole = open_model(source, checkpoint)
    if dtype is not None:
        whole.tensors = CastTensors(whole.tensors, DTYPES[dtype])
    if layout == 'folder':
        write_exported(
            target,
            whole.tensors,
            whole.config,
            tokenizer=whole.tokenizer,
            table=whole.table.text(),
            record=whole.record,
            max_bytes=size,
            ledger=whole.ledger,
        )
    else:
        write_published(
            target,
            whole.tensors,
            whole.config['model'],
            tokenizer=whole.tokenizer,
            record=whole.record,
            max_bytes=size,
            vision_tower_name=vision_tower_name,
            ledger=whole.ledger,
        )
    return whole.table


class CastTensors:
    """Another source, with floating-point tensors cast to one dtype."""

    def __init__(self, source: TensorSource, dtype: torch.dtype):
        self.source = source
        self.info = {
            name: TensorInfo(info.shape, dtype if info.dtype.is_floating_point else info.dtype)
            for name, info in source.info.items()
        }

    def read(self, name: str) -> Tensor:
        """One tensor, cast.

        Raises:
            CheckpointError: if a number is too large for the dtype.
        """
        value = self.source.read(name)
        cast = value.to(self.info[name].dtype)
        if cast.dtype != value.dtype and not is_finite(cast) and is_finite(value):
            raise CheckpointError(
                f'{name} holds numbers up to {value.abs().max().item():.3g}, too large for {cast.dtype}. Give --dtype bfloat16.'
            )
        return cast


class MergedModel:
    """The tensors of a built model by our names; adapters and new tokens' rows are merged one layer at a time.

    Raises:
        CheckpointError: for a quantised language model.
    """

    def __init__(self, model: LISA):
        self._merge = merges(model)
        self._state = {without_adapters(name): value for name, value in model.state_dict().items() if not is_adapter(name)}
        self.info = {name: TensorInfo(tuple(value.shape), value.dtype) for name, value in self._state.items()}

    def read(self, name: str) -> Tensor:
        """One tensor, with its adapter or new rows merged."""
        value = self._state[name].detach()
        merge = self._merge.get(name)
        return value if merge is None else merge(value)


def open_model(source: str | Path, checkpoint: str | Path | None = None) -> WholeModel:
    """Open a whole model from what a user names.

    Raises:
        CheckpointError: for a folder that holds only some parts.
    """
    source = Path(source)
    opened = open_checkpoint(source, prefer='best') if checkpoint is None and source.is_dir() else None
    if isinstance(opened, ExportedModel):
        folder, record = opened.folder, opened.meta
        if record.get('seg_token_id') is None:
            raise CheckpointError(
                f'{folder} holds {", ".join(record["parts"])} from before LISA: there is no trained [SEG] to export. '
                'Train from it first (load_from).'
            )
        config = Config.fromfile(folder / CONFIG).to_dict()  # not load_config, which would replace here://
        files = WeightFiles(folder)
        table = Table([Row(USED, name, name, info.shape) for name, info in files.info.items()])
        record = {key: value for key, value in record.items() if key not in ('format', 'parts', 'lisa_mm', 'time')}
        return WholeModel(files, config, folder / TOKENIZER, record, table, ledger_in(folder))
    config_path, found = resolve(source, checkpoint)
    model, compiled, tensors = _open_checkpoint_model(config_path, found)
    spec = model.mllm.tokenizer_spec
    record = {
        'source': {'kind': 'checkpoint of training', 'path': str(found), 'config': str(config_path)},
        'seg_token_id': model.seg_token_id,
        'published': _published_start(compiled),
    }
    config = self_contained(load_config(config_path).to_dict(), model)
    return WholeModel(tensors, config, Path(spec['pretrained']), record, table_of(model), ledger_in(found))


def _open_checkpoint_model(config: Path, checkpoint: Path) -> tuple[LISA, Config, TensorSource]:
    """The model, its compiled config and its tensors; the model is on the meta device where files hold every tensor."""
    ready = prepare_model(config, checkpoint)
    start, model = ready.compiled.get('load_from'), ready.shapes
    if start and is_exported(start) and isinstance(ready.opened, TrainingCheckpoint) and model.mllm.quantization is None:
        files = WeightFiles(start)
        if can_stream(model, files, ready.opened.folder):
            return model, ready.compiled, StreamedModel(model, files, ready.opened.folder)
    model = ready.load()
    return model, ready.compiled, MergedModel(model)


def table_of(model: LISA) -> Table:
    """A row for every tensor of a built model."""
    rows = []
    for name, value in model.state_dict().items():
        merged = merged_into(name)
        note = '' if merged is None else 'rows of the new tokens' if name.endswith(NEW_ROWS) else 'LoRA added to its layer'
        rows.append(Row(USED if merged is None else MERGED, name, merged or without_adapters(name), tuple(value.shape), note))
    return Table(rows)


def _published_start(compiled: Config) -> dict[str, Any]:
    """config.json and generation_config.json of the published folder that training started from, if it did."""
    start = compiled.get('load_from')
    if start and is_exported(start):
        return read_export(Path(start)).get('published', {})
    language_model = compiled.model.mllm.get('language_model') or {}
    folder = Path(language_model.get('pretrained') or '')
    if not (folder / 'config.json').is_file() or read_json(folder / 'config.json').get('model_type') != 'llava':
        return {}
    return {name: read_json(folder / name) for name in ('config.json', 'generation_config.json') if (folder / name).is_file()}


def self_contained(config: dict[str, Any], model: LISA) -> dict[str, Any]:
    """A source config whose parts read no files: it contains their architecture, and the folder beside it their weights.

    Raises:
        CheckpointError: for a part whose architecture is only in its files.
    """
    config = copy.deepcopy(config)
    for key in ('work_dir', 'resume', 'launcher'):
        config.pop(key, None)
    config['load_from'] = HERE
    for place, part, built in _parts(config['model'], model):
        read_from = part.pop('pretrained', None)
        changes = built.without_files(HERE_TOKENIZER)
        if changes is not None:
            part.update(changes)
        elif read_from is not None and Path(read_from.replace('weights://', '')).suffix == '':
            raise CheckpointError(
                f'{place}: {part["type"]} takes its architecture from the folder {read_from}, and does not say how it is built '
                f'without it. Write {part["type"]}.without_files (see lisa_mm.models.base.Part).'
            )
    return config


def _parts(model_config: dict[str, Any], model: LISA) -> list[tuple[str, dict[str, Any], Any]]:
    """Place, config and module of every part."""
    mllm = model_config['mllm']
    found = [('model.mllm', mllm, model.mllm)]
    found += [
        (f'model.mllm.{key}', mllm[key], getattr(model.mllm, key))
        for key in ('vision_tower', 'projector', 'language_model')
        if key in mllm
    ]
    return found + [
        (f'model.{key}', model_config[key], getattr(model, key)) for key in ('seg_head', 'mask_decoder') if key in model_config
    ]
