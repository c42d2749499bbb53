"""One folder that holds a whole model under our names: imports and exports write it, and every tool takes it.

```
FOLDER/
  config.py       a loadable config; ``here://`` in it means this folder, so it may be moved
  model.safetensors, or model-0000i-of-0000N.safetensors with their index
  tokenizer/      the tokenizer's original files, and those of a whole model's processor
  export.json     its origin, its parts, the id of [SEG]
  tensors.txt     what became of every tensor of the source
  trained_on.json, .npy   what it was trained on, if that is known, see ledger.py
```

A folder made from only a LLaVA, SAM or CLIP checkpoint holds some of the parts: training starts from it (``load_from``), and
other parts stay as the config builds them.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from .. import __version__
from ..errors import CheckpointError
from ..file_kinds import TOKENIZER_FILES
from ..models.lora import refresh_adapters
from ..models.new_rows import has_new_rows, read_new_rows
from ..sharding import full_shape, gathered
from .folder import CONFIG, EXPORT, fsync_path, publish, write_json
from .keys import is_adapter, part_of, without_adapters
from .ledger import Ledger, write_ledger
from .safetensors_writer import write_shards
from .sources import TensorInfo, TensorSource, WeightFiles, read_json

TOKENIZER, TABLE = 'tokenizer', 'tensors.txt'
FORMAT = 'lisa_mm model folder 1'
_SHOWN = 5


def is_exported(path: str | Path) -> bool:
    """Whether a path is a folder of this format."""
    return (Path(path) / EXPORT).is_file()


def read_export(folder: Path) -> dict[str, Any]:
    """The folder's ``export.json``.

    Raises:
        CheckpointError: if it is damaged or of another format.
    """
    record = read_json(folder / EXPORT)
    if record.get('format') != FORMAT:
        raise CheckpointError(f'{folder}: format {record.get("format")!r} is not {FORMAT!r}. Import the checkpoint again.')
    return record


def check_new(target: str | Path) -> Path:
    """The path of a folder to write.

    Raises:
        CheckpointError: if it already exists.
    """
    target = Path(target)
    if target.exists():
        raise CheckpointError(f'{target} exists already: nothing is overwritten. Remove it or give another folder.')
    return target


@contextmanager
def new_folder(target: str | Path) -> Iterator[Path]:
    """A temporary folder that is renamed once everything is written; on an error it is removed.

    Raises:
        CheckpointError: if the target already exists.
    """
    target = check_new(target)
    temporary = target.with_name(f'.tmp_{target.name}')
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        publish(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    fsync_path(target.parent)


def write_exported(
    target: str | Path,
    source: TensorSource,
    config: Mapping[str, Any],
    *,
    tokenizer: Path | None,
    table: str,
    record: Mapping[str, Any],
    max_bytes: int,
    ledger: Ledger | None = None,
) -> None:
    """Write a folder of this format.

    Args:
        target: The folder; must not exist.
        source: Tensors by our names.
        config: Source config; paths inside the folder start with ``here://``.
        tokenizer: A folder whose tokenizer files are copied.
        table: Text of ``tensors.txt``.
        record: Fields of ``export.json`` besides the format and the parts.
        max_bytes: Maximum size of a shard.
        ledger: What the model was trained on; None writes none.
    """
    with new_folder(target) as folder:
        if ledger is not None:
            write_ledger(ledger, folder)
        write_shards(folder, source.info, source.read, max_bytes=max_bytes)
        if tokenizer is not None:
            copy_tokenizer(tokenizer, folder / TOKENIZER)
        text = Config(dict(config)).pretty_text
        (folder / CONFIG).write_text(f'"""Written by lisa_mm {__version__}; see {EXPORT}."""\n\n{text}', encoding='utf-8')
        (folder / TABLE).write_text(table + '\n', encoding='utf-8')
        parts = sorted({part_of(name) for name in source.info})
        origin = {'lisa_mm': __version__, 'time': time.strftime('%Y-%m-%d %H:%M:%S')}
        write_json(folder / EXPORT, {'format': FORMAT, 'parts': parts, **origin, **record})


def copy_tokenizer(source: Path, target: Path) -> None:
    """Copy a folder's tokenizer files unchanged."""
    target.mkdir()
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def load_exported(model: nn.Module, folder: str | Path, *, whole: bool = True) -> list[str]:
    """Load a folder's tensors into a model, which may have fresh adapters; all processes must call it.

    No tensor of the folder's parts may be missing, left over or of another shape. A language model from before LISA (without
    ``[SEG]``) has fewer rows in embeddings and head than the model: the new tokens' rows become the mean of the others.

    Args:
        model: The model, sharded (ZeRO-3) or not.
        folder: A folder of this format.
        whole: Require every part of the model in the folder.

    Returns:
        The parts that are not in the folder; they stay as they were.

    Raises:
        CheckpointError: naming every kind of difference with the first few names.
    """
    folder = Path(folder)
    record = read_export(folder)
    files = WeightFiles(folder)
    own = {without_adapters(name): value for name, value in model.state_dict(keep_vars=True).items() if not is_adapter(name)}
    held = set(record['parts'])
    absent = sorted({part_of(name) for name in own} - held)
    faults = _compare({name: value for name, value in own.items() if part_of(name) in held}, files.info, record)
    if whole and absent:
        faults.append(
            f'it does not hold {", ".join(absent)}: such a folder is a start for training. Give it as load_from of a config.'
        )
    seg = getattr(model, 'seg_token_id', None)
    if record.get('seg_token_id') is not None and seg is not None and record['seg_token_id'] != seg:
        faults.append(
            f"its [SEG] is token {record['seg_token_id']}, the model's tokenizer says {seg}. Use {folder / TOKENIZER} as "
            'language_model.tokenizer.'
        )
    if faults:
        raise CheckpointError(f'{folder} does not fit the model:\n' + '\n'.join(f'- {fault}' for fault in faults))
    for name in files.info:
        with torch.no_grad(), gathered(own[name], modify=True) as target:
            value = files.read(name)
            target[: len(value)].copy_(value) if value.dim() else target.copy_(value)
            if value.dim() and len(target) > len(value):
                target[len(value) :] = value.float().mean(0).to(target.dtype)
    for module in model.modules():
        if has_new_rows(module):
            read_new_rows(module)
    refresh_adapters(model)
    for name, module in model.named_modules():
        # weights that this file holds need not be in checkpoints of a training that starts from it
        has_a_say = getattr(module, 'from_file', None) is not None and not isinstance(module, LoraLayer)
        if has_a_say and part_of(name + '.') in held:
            module.from_file = True  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue] - torch types attributes as tensors
    return absent


def _compare(own: Mapping[str, Tensor], held: Mapping[str, TensorInfo], record: Mapping[str, Any]) -> list[str]:
    shapes = {name: full_shape(value) for name, value in own.items()}
    before_lisa = record.get('seg_token_id') is None
    reshaped = [
        f'{name} (folder {held[name].shape}, model {shape})'
        for name, shape in shapes.items()
        if name in held and held[name].shape != shape and not (before_lisa and _more_rows(name, held[name].shape, shape))
    ]
    kinds = {
        'missing in the folder': [name for name in shapes if name not in held],
        'left over': [name for name in held if name not in shapes],
        'of another shape': reshaped,
    }
    return [
        f'{len(names)} {kind}: {", ".join(names[:_SHOWN])}{", ..." if len(names) > _SHOWN else ""}'
        for kind, names in kinds.items()
        if names
    ]


def _more_rows(name: str, held: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    rows = name.endswith(('.embed_tokens.weight', '.lm_head.weight'))
    return rows and len(held) == len(shape) and held[0] < shape[0] and held[1:] == shape[1:]
