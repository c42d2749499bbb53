"""Load a model from what a user names: a config and a checkpoint, or one folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from mmengine.registry import DefaultScope

from ..checkpoints.exported import is_exported
from ..checkpoints.folder import CONFIG, find_checkpoint
from ..checkpoints.opening import ExportedModel, TrainingCheckpoint, open_checkpoint
from ..config.compile import DATALOADERS, compile_with_model, datasets_in
from ..config.load import load_config
from ..datasets.transforms import image_loader
from ..engine.device import choose_device, set_tf32
from ..engine.memory import keep_freed_memory
from ..errors import ConfigError, UserError, nearest
from ..models import LISA
from ..registry import MODELS
from ..structures import TokenizerSpec
from .shipped import find_model

SOURCE_NAME = CONFIG  # its public name
# Keys that matter in training alone; checking them would import DeepSpeed, which takes seconds
OF_TRAINING = ('strategy', 'optim_wrapper', 'param_scheduler', 'train_cfg')
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


def resolve(target: str | Path, checkpoint: str | Path | None = None) -> tuple[Path, Path]:
    """Find a config and a checkpoint from one work folder, checkpoint folder or exported folder, or from both.

    A name of :data:`.shipped.SHIPPED` stands for its folder, unless the current folder holds something of that name.

    Returns:
        Path of the config; path of the checkpoint (in a work folder, the best validated one, otherwise the last).

    Raises:
        UserError: if one of them cannot be found.
    """
    target = find_model(target)
    if checkpoint is not None and target.is_dir():
        raise UserError(f'{target} is a folder: before a checkpoint goes a config. Give that folder alone, or a config first.')
    if checkpoint is not None:
        return target, find_checkpoint(checkpoint, prefer='best')
    if not target.is_dir():
        raise UserError(f'{target}: give a config and a checkpoint, one work folder of training, or one exported folder.')
    opened = open_checkpoint(target, prefer='best')
    if opened.config is None:
        raise UserError(f'{opened.folder} holds no {SOURCE_NAME}: give the config before the checkpoint.')
    return opened.config, opened.folder


@dataclass(frozen=True)
class ReadyModel:
    """A model whose config compiles and whose checkpoint is there, before its weights are read.

    Args:
        compiled: The compiled config.
        shapes: The model on the meta device.
        opened: The checkpoint; None for the model before training.
        device: Where it will be.
        dtype: A key of :data:`DTYPES`.
    """

    compiled: Config
    shapes: LISA
    opened: TrainingCheckpoint | ExportedModel | None
    device: torch.device
    dtype: str

    @property
    def tokenizer_spec(self) -> TokenizerSpec:
        """That of its language model."""
        return self.shapes.mllm.tokenizer_spec

    def image_loader(self) -> BaseTransform:
        """The step that reads images, see :func:`loader_of_config`."""
        return loader_of_config(self.compiled)

    def load(self) -> LISA:
        """Build the model in float32 on the CPU, read all weights strictly, and move it to its device, in eval mode.

        On a CPU, the process keeps freed memory from then on.
        """
        if self.device.type == 'cpu':
            keep_freed_memory()
        set_tf32(False)
        if not DefaultScope.check_instance_created('lisa_mm'):
            DefaultScope.get_instance('lisa_mm', scope_name='lisa_mm')
        torch.manual_seed((self.compiled.get('randomness') or {}).get('seed') or 0)
        model: LISA = MODELS.build(self.compiled.model.to_dict())
        start = self.compiled.get('load_from')
        if start and is_exported(start) and not isinstance(self.opened, ExportedModel):
            ExportedModel(Path(start)).load_into(model, whole=False)
        if self.opened is not None:
            self.opened.load_into(model)
        if self.dtype != 'float32':
            model = model.to(DTYPES[self.dtype])  # type: ignore[assignment] - torch's to() is typed as any module
        return model.to(self.device).eval()  # type: ignore - the same


def loader_of_config(config: Config) -> BaseTransform:
    """The step that reads images in the pipeline of training, or else of an evaluation; by default LoadImage."""
    for name in DATALOADERS:
        for dataset, _ in datasets_in((config.get(name) or {}).get('dataset'), name):
            if dataset.get('pipeline'):
                return image_loader(dataset['pipeline'])
    return image_loader(())


def prepare_model(
    config: str | Path | Config, checkpoint: str | Path | None, *, device: str | None = None, dtype: str = 'float32'
) -> ReadyModel:
    """Find every fault that shows without reading weights, in seconds; arguments as in :func:`load_model`.

    Raises:
        UserError: for an unknown device or dtype, a faulty config, a checkpoint that is missing or cut off.
    """
    if dtype not in DTYPES:
        raise ConfigError(f'dtype {dtype!r} is unknown.{nearest(dtype, DTYPES)}')
    place = choose_device(device)
    opened = None if checkpoint is None else open_checkpoint(checkpoint, prefer='best')
    if opened is not None:
        opened.check()
    source = config if isinstance(config, Config) else load_config(config)
    kept = Config({key: value for key, value in source.items() if key not in OF_TRAINING})
    compiled, shapes = compile_with_model(kept)
    return ReadyModel(compiled, shapes, opened, place, dtype)


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
    ready = prepare_model(config, checkpoint, device=device, dtype=dtype)
    return ready.load(), ready.compiled
