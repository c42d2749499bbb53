"""A checkpoint is a folder with the trained weights, hashes of the frozen weights, and the state to resume from.

```
iter_200/
  weights.safetensors   trained parameters and their modules' buffers, float32, named as in model.state_dict()
  frozen.json           name -> shape, dtype, sha256 of all frozen weights
  meta.json             iteration, world size, ZeRO stage, versions, best score, seed, hashes
  config.py             the config's text, if there was one
  trained_on.json, .npy   what it was trained on, see ledger.py
  state/                needed to resume, not to evaluate
    optimizer.safetensors   the optimizer's tensors by the names of parameters, see optimizer_state.py
    common.pt               settings of the optimizer, schedules, curves, states of hooks
    rank_<r>.pt             random generators of each process
```

A folder is written as ``.tmp_iter_200``, every file is synced to disk, and only then is it renamed: a folder named
``iter_200`` is complete.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lisa_mm.errors import CheckpointError

from ..file_kinds import SAFETENSORS, identify
from ..sharding import full_shape, gathered, has_sharded_optimizer, is_sharded_parameter
from .checked_file import CheckedFile, unreadable
from .comparing import frozen_faults, trained_faults
from .for_hooks import Weights
from .safetensors_writer import write_file
from .sources import TensorInfo

WEIGHTS, FROZEN, META, CONFIG, STATE = 'weights.safetensors', 'frozen.json', 'meta.json', 'config.py', 'state'
EXPORT = 'export.json'  # marks a folder that holds a whole model, see exported.py
LAST = 'last_checkpoint'
CHECKPOINT_MARKS = (META, LAST)  # marks of a checkpoint folder and of a work folder

Master = Callable[[torch.Tensor], 'torch.Tensor | None']


def split_state(model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Split the model's state in two: tensors that a checkpoint must hold, and tensors that a file already holds.

    The first are the trained tensors, and frozen weights of parts that were not read from a file (``Part.from_file``).
    A buffer counts as trained if its module has a trained parameter of its own (the running statistics of a trained norm).

    Returns:
        Trained and frozen tensors by name; the parameters themselves, not copies.
    """
    trained_modules = {
        name for name, module in model.named_modules() if any(p.requires_grad for p in module.parameters(recurse=False))
    }
    trained, frozen = {}, {}
    origins: dict[str, bool] = {
        name: said for name, module in model.named_modules() if (said := getattr(module, 'from_file', None)) is not None
    }
    for name, value in model.state_dict(keep_vars=True).items():
        if not _came_from_file(name, origins):
            changes = True
        elif isinstance(value, nn.Parameter):
            changes = value.requires_grad
        else:
            changes = name.rpartition('.')[0] in trained_modules
        (trained if changes else frozen)[name] = value
    return trained, frozen


def _came_from_file(name: str, origins: dict[str, bool]) -> bool | None:
    """The origin of a tensor according to the innermost part around it."""
    module = name
    while module:
        module = module.rpartition('.')[0]
        if module in origins:
            return origins[module]
    return None


def trained_weights(model: nn.Module) -> dict[str, torch.Tensor]:
    """Copies of all trained tensors, on the CPU, floating point in float32; all processes must call it."""
    return dict(model_weights(model))


def model_weights(model: nn.Module, master: Master | None = None) -> Weights:
    """The trained tensors of a model as a checkpoint holds them, floating point in float32.

    Args:
        model: The model, sharded or not.
        master: Returns the optimizer's float32 copy of a half-precision parameter, or None; by default ZeRO's.
    """
    trained = split_state(model)[0]
    info = {
        name: TensorInfo(full_shape(value), torch.float32 if value.is_floating_point() else value.dtype)
        for name, value in trained.items()
    }
    return Weights(info, lambda name: _whole_weight(trained[name], master or master_weights))


def _whole_weight(value: torch.Tensor, master: Master) -> torch.Tensor:
    found = master(value)
    with gathered(value) as whole:
        source = whole if found is None else found.view(whole.shape)
        return source.detach().to('cpu', torch.float32 if source.is_floating_point() else None, copy=True)


def master_weights(value: torch.Tensor) -> torch.Tensor | None:
    """ZeRO's float32 copy of a half-precision parameter, which is more precise; None if there is none."""
    sharded_without_optimizer = is_sharded_parameter(value) and not has_sharded_optimizer(value)
    if value.dtype not in (torch.bfloat16, torch.float16) or sharded_without_optimizer:
        return None
    from deepspeed.utils import safe_get_full_fp32_param

    return safe_get_full_fp32_param(value)


def describe_frozen(model: nn.Module) -> dict[str, dict[str, Any]]:
    """Name -> shape, dtype and sha256 of all frozen tensors; all processes must call it.

    A float32 tensor has two hashes, its own and that of its bfloat16 rounding, so that a model built in bfloat16 can be compared.
    """
    described = {}
    for name, value in split_state(model)[1].items():
        with gathered(value) as whole:
            described[name] = describe_tensor(whole)
    return described


def describe_tensor(whole: torch.Tensor) -> dict[str, Any]:
    """Shape, dtype and sha256 of a frozen tensor, see :func:`describe_frozen`."""
    whole = whole.detach().cpu().contiguous()
    versions = [whole, whole.bfloat16()] if whole.dtype == torch.float32 else [whole]
    return {
        'shape': list(whole.shape),
        'dtype': _dtype_name(whole),
        'sha256': {_dtype_name(version): _tensor_sha256(version) for version in versions},
    }


def _dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix('torch.')


def _tensor_sha256(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.reshape(-1).view(torch.uint8).numpy()).hexdigest()  # pyright: ignore[reportArgumentType] - an array is a buffer, which numpy's stubs say from Python 3.12 on


def write_weights(folder: Path, weights: Weights, *, keep: bool = True, replaced: Collection[str] = ()) -> str:
    """Write the weights file with one tensor in memory at a time; all processes must call it.

    Args:
        folder: An existing folder.
        weights: The weights.
        keep: False joins in the gathering but writes nothing.
        replaced: Without ``keep``: names for which the process that writes has other values, and gathers none.

    Returns:
        The file's sha256, for ``meta.json``; empty without ``keep``. Names of tensors that are not finite are in
        ``weights.broken``.
    """
    if not keep:
        return write_file(folder / WEIGHTS, _without(weights.info, replaced), weights.read, keep=False)

    def read(name: str) -> torch.Tensor:
        return weights[name].detach().to('cpu', weights.info[name].dtype)

    return write_file(folder / WEIGHTS, weights.info, read)


def _without(info: Mapping[str, TensorInfo], names: Collection[str]) -> dict[str, TensorInfo]:
    return {name: one for name, one in info.items() if name not in names}


def write_json(path: Path, value: object) -> None:
    """Write readable JSON."""
    path.write_text(json.dumps(value, indent=1) + '\n', encoding='utf-8')


def sync_folder(folder: Path) -> None:
    """fsync a folder with every file and folder below it."""
    for path in [*folder.rglob('*'), folder]:
        fsync_path(path)


def fsync_path(path: Path) -> None:
    """Make one file, or a folder's entries, durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, final: Path) -> None:
    """Rename a completely written folder; it replaces a folder of that name from an earlier run."""
    sync_folder(temporary)
    if final.exists():
        old = final.with_name(f'.tmp_old_{final.name}')
        shutil.rmtree(old, ignore_errors=True)
        final.rename(old)
        temporary.rename(final)
        shutil.rmtree(old)
    else:
        temporary.rename(final)
    fsync_path(final.parent)


def point_to(work_dir: Path, folder: Path) -> None:
    """Replace ``last_checkpoint`` atomically, so that it names ``folder``."""
    temporary = work_dir / f'.tmp_{LAST}'
    temporary.write_text(folder.name + '\n', encoding='utf-8')
    fsync_path(temporary)
    os.replace(temporary, work_dir / LAST)
    fsync_path(work_dir)


def remove_leftovers(work_dir: Path) -> list[str]:
    """Remove leftovers of interrupted writes.

    Returns:
        The names of the removed folders.
    """
    leftovers = [path for path in work_dir.glob('.tmp_*iter_*') if path.is_dir()]
    for path in leftovers:
        shutil.rmtree(path)
    return sorted(path.name for path in leftovers)


def set_aside(work_dir: Path) -> Path | None:
    """Move an earlier run's checkpoints into ``earlier_<number>``, a work folder that one can test, infer and resume from.

    Returns:
        The new folder; None if there was nothing to move.
    """
    found = [*list_checkpoints(work_dir), *list_checkpoints(work_dir, 'best_*_iter_')]
    if not found:
        return None
    number = max((iteration_of(path) for path in work_dir.glob('earlier_*') if path.name[8:].isdigit()), default=0) + 1
    folder = work_dir / f'earlier_{number}'
    folder.mkdir()
    for path in [*found, *work_dir.glob(LAST)]:
        path.rename(folder / path.name)
    return folder


def list_checkpoints(work_dir: Path, prefix: str = 'iter_') -> list[Path]:
    """The complete checkpoints ``<prefix><number>`` of a work folder, by number; in the prefix, * stands for a name."""
    pattern = re.escape(prefix).replace(r'\*', '.+') + r'\d+'
    found = [path for path in work_dir.glob(f'{prefix}*') if re.fullmatch(pattern, path.name)]
    return sorted((path for path in found if (path / META).is_file()), key=iteration_of)


def iteration_of(folder: Path) -> int:
    """The number at the end of a checkpoint's name."""
    return int(folder.name.rsplit('_', 1)[1])


def find_checkpoint(path: str | Path, *, prefer: str = 'last') -> Path:
    """Find the checkpoint that a user's path means.

    Args:
        path: A checkpoint folder, a work folder of training, an exported folder, or a weights file.
        prefer: In a work folder, ``'last'`` takes the one to resume from, ``'best'`` the best validated one if there is any.

    Returns:
        A checkpoint folder, or the file as given (a checkpoint's own ``weights.safetensors`` gives its folder).

    Raises:
        CheckpointError: listing what was looked for.
    """
    path = Path(path)
    if path.is_file():
        return path.parent if path.name == WEIGHTS and (path.parent / META).is_file() else path
    if not path.is_dir():
        raise CheckpointError(
            f'{path} does not exist. Give a checkpoint folder (iter_N), a work folder of training, or a weights file.'
        )
    if (path / WEIGHTS).is_file() or (path / EXPORT).is_file():
        if path.name.startswith('.tmp_'):
            raise CheckpointError(
                f'{path} is what an interrupted write left behind, not a checkpoint. Give the work folder {path.parent}.'
            )
        return path
    if prefer == 'best':
        best = list_checkpoints(path, 'best_*_iter_')
        if best:
            return best[-1]
    pointer = path / LAST
    if pointer.is_file():
        folder = path / pointer.read_text(encoding='utf-8').strip()
        if (folder / META).is_file():
            return folder
    complete = list_checkpoints(path)
    if not complete:
        raise CheckpointError(
            f'{path} holds no checkpoint: looked for {WEIGHTS} in it, for {LAST}, and for folders iter_N with {META}. '
            'Give a checkpoint folder, or the work folder of a training run that has saved one.'
        )
    return complete[-1]


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the checkpoint's ``meta.json``.

    Raises:
        CheckpointError: if it is missing or damaged.
    """
    return _read_json(folder / META)


def check_checkpoint(folder: Path) -> None:
    """Check that a checkpoint's files are there and whole, without reading the weights.

    Raises:
        CheckpointError: naming the file that is missing or cut off.
    """
    for name in (META, FROZEN):
        _read_json(folder / name)
    path = folder / WEIGHTS
    kind = identify(path) if path.is_file() else None
    if kind is None or kind.name != SAFETENSORS:
        raise unreadable(path, f'it {kind.says}' if kind else 'it is missing', 'Use another checkpoint.')


def open_weights(folder: Path) -> CheckedFile:
    """Open the weights file of a checkpoint.

    Raises:
        CheckpointError: if the file is missing, truncated, or not the file that was written.
    """
    return CheckedFile(folder / WEIGHTS, read_meta(folder).get('weights_sha256'))


def load_weights(
    model: nn.Module,
    folder: str | Path,
    *,
    check_frozen: bool = True,
    frozen: dict[str, dict] | None = None,
    change: Callable[[Weights], object] | None = None,
) -> Weights:
    """Load a checkpoint's weights into a model; nothing may be missing, left over, or of another shape.

    Args:
        model: The model, with ``requires_grad`` set as in the training that wrote the checkpoint; sharded (ZeRO-3) or not.
        folder: A checkpoint folder, or the work folder of a training run.
        check_frozen: Compare the frozen parts with the ones the checkpoint was trained on, by hash.
        frozen: Result of :func:`describe_frozen` for the model, if already known.
        change: Called with the weights before they are copied into the model; it may replace some.

    Returns:
        The weights as they went into the model.

    Raises:
        CheckpointError: naming every kind of difference with the first few names.
    """
    folder = find_checkpoint(folder)
    if folder.is_file():
        raise CheckpointError(
            f'{folder} is a single file, not a checkpoint folder of this project. Convert it first (tools/convert_checkpoint.py).'
        )
    trained, _ = split_state(model)
    file = open_weights(folder)
    faults = trained_faults(trained, file.info)
    if check_frozen:
        faults += frozen_faults(frozen if frozen is not None else describe_frozen(model), _read_json(folder / FROZEN))
    if faults:
        raise CheckpointError(f'{folder} does not fit the model:\n' + '\n'.join(f'- {fault}' for fault in faults))
    weights = Weights(file.info, lambda name: file.read(name).clone())
    if change is not None:
        change(weights)
    for name, target in trained.items():
        value = weights.replaced.get(name)
        with torch.no_grad(), gathered(target, modify=True) as whole:
            whole.copy_(file.read(name) if value is None else value)
    return weights


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise unreadable(path, error, 'the checkpoint is damaged or incomplete. Use another one.') from error
