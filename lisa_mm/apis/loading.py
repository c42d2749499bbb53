"""Load a model from what a user names: a config and a checkpoint, or one folder."""

from __future__ import annotations

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ..checkpoints.exported import is_exported
from ..checkpoints.folder import CONFIG, find_checkpoint
from ..checkpoints.opening import ExportedModel, open_checkpoint
from ..config.compile import compile_config
from ..config.load import load_config
from ..engine.device import choose_device, set_tf32
from ..errors import ConfigError, UserError, nearest
from ..models import LISA
from ..registry import MODELS

SOURCE_NAME = CONFIG  # its public name
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def resolve(target: str | Path, checkpoint: str | Path | None = None) -> tuple[Path, Path]:
    """Find a config and a checkpoint from one work folder, checkpoint folder or exported folder, or from both.

    Returns:
        Path of the config; path of the checkpoint (in a work folder, the best validated one, otherwise the last).

    Raises:
        UserError: if one of them cannot be found.
    """
    target = Path(target)
    if checkpoint is not None:
        return target, find_checkpoint(checkpoint, prefer='best')
    if not target.is_dir():
        raise UserError(f'{target}: give a config and a checkpoint, one work folder of training, or one exported folder.')
    opened = open_checkpoint(target, prefer='best')
    if opened.config is None:
        raise UserError(f'{opened.folder} holds no {SOURCE_NAME}: give the config before the checkpoint.')
    return opened.config, opened.folder


def build_model(config: str | Path | Config) -> tuple[LISA, Config]:
    """Build the model of a config as it is before any training.

    Returns:
        The model and its compiled config.
    """
    source = config if isinstance(config, Config) else load_config(config)
    compiled = compile_config(source)
    DefaultScope.get_instance('lisa_mm', scope_name='lisa_mm')
    torch.manual_seed((compiled.get('randomness') or {}).get('seed') or 0)
    return MODELS.build(compiled.model.to_dict()), compiled


def load_model(
    config: str | Path | Config, checkpoint: str | Path | None, *, device: str | None = None, dtype: str = 'float32'
) -> tuple[LISA, Config]:
    """Load a checkpoint's weights strictly into a model in eval mode.

    If training started from an exported folder (``load_from``), the checkpoint holds the trained weights, the folder the rest.

    Args:
        config: A config file or source.
        checkpoint: A checkpoint folder; None leaves the model as the config builds it, before any training.
        device: Device of the model; by default 'cuda' if available.
        dtype: Precision of weights and activations: 'float32' (TF32 is turned off), 'bfloat16' or 'float16'. The model is built
            in float32 on the CPU, then cast.

    Returns:
        The model and its compiled config.
    """
    if dtype not in DTYPES:
        raise ConfigError(f'dtype {dtype!r} is unknown.{nearest(dtype, DTYPES)}')
    place = choose_device(device)
    set_tf32(False)
    model, compiled = build_model(config)
    opened = None if checkpoint is None else open_checkpoint(checkpoint, prefer='best')
    start = compiled.get('load_from')
    if start and is_exported(start) and not isinstance(opened, ExportedModel):
        ExportedModel(Path(start)).load_into(model, whole=False)
    if opened is not None:
        opened.load_into(model)
    if dtype != 'float32':
        model.to(DTYPES[dtype])
    model.to(place).eval()
    return model, compiled
