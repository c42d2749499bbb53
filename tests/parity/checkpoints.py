"""Made from a golden folder: imports, and other forms of its checkpoints."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from lisa_mm.checkpoints.importing import import_checkpoint
from lisa_mm.checkpoints.sources import WeightFiles
from lisa_mm.checkpoints.table import Table

from .golden import Golden, lora_of


def lisa_folder(golden: Golden) -> Path:
    return golden.models / 'lisa-tiny-hf'


def llava_folder(golden: Golden) -> Path:
    return golden.models / 'llava-tiny-base'


def clip_folder(golden: Golden) -> Path:
    return next(golden.models.glob('clip*/config.json')).parent


def sam_file(golden: Golden) -> Path:
    return next(golden.models.glob('sam*.pth'))


def state_file(golden: Golden) -> Path:
    return golden.models / 'train_state' / 'pytorch_model.bin'


def read_all(path: Path) -> dict[str, Tensor]:
    """All tensors of a file or folder."""
    files = WeightFiles(path)
    return {name: files.read(name).clone() for name in files.info}


def alpha_of(golden: Golden) -> int:
    """LoRA's alpha, which the merged folder tells."""
    lora = lora_of(read_all(state_file(golden)), golden)
    assert lora is not None
    return lora['lora_alpha']


def import_lisa(golden: Golden, target: Path, source: Path | None = None, **options) -> Table:
    return import_checkpoint(source or lisa_folder(golden), target, clip=clip_folder(golden), **options)


def import_state(golden: Golden, target: Path, source: Path | None = None, **options) -> Table:
    given = {'llm': llava_folder(golden), 'clip': clip_folder(golden), 'lora_alpha': alpha_of(golden), **options}
    return import_checkpoint(source or state_file(golden), target, **given)


def import_start(golden: Golden, target: Path, source: Path | None = None) -> Table:
    """LLaVA, CLIP and SAM: what the published training begins with."""
    return import_checkpoint(source or llava_folder(golden), target, clip=clip_folder(golden), sam=sam_file(golden))


def rewrite(folder: Path, target: Path, state: dict[str, Tensor], *, shards: int = 0) -> Path:
    """A copy of a Hugging Face folder with other tensors: one ``.bin``, or so many safetensors shards."""
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns('*.bin', '*.index.json', '*.safetensors'))
    if not shards:
        torch.save(state, target / 'pytorch_model.bin')
        return target
    weight_map = {}
    names = list(state)
    for i in range(shards):
        file = f'model-{i + 1:05d}-of-{shards:05d}.safetensors'
        part = {name: state[name].contiguous() for name in names[i::shards]}
        save_file(part, target / file)
        weight_map |= dict.fromkeys(part, file)
    (target / 'model.safetensors.index.json').write_text(json.dumps({'metadata': {}, 'weight_map': weight_map}))
    return target


def one_shard(golden: Golden) -> Path:
    """A shard of the LISA folder."""
    return sorted(lisa_folder(golden).glob('*.bin'))[-1]
