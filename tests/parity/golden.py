"""Reads a golden folder: widths from its weight files, batches into our inputs, names into ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lisa_mm.checkpoints.architecture import clip_config, llama_config, lora_config, sam_widths
from lisa_mm.checkpoints.keys import SAM, from_language_model, name_in_model
from lisa_mm.checkpoints.sources import read_json
from lisa_mm.datasets import ReasonSegDataset, ReferSegDataset
from lisa_mm.datasets.base import BaseSegDataset
from lisa_mm.models import LISA
from lisa_mm.models.weights import load_strictly
from lisa_mm.structures import SegDataSample
from lisa_mm.tokens import IGNORE_INDEX, IMAGE_TOKEN_ID


@dataclass
class Golden:
    """A golden folder and its table of batches."""

    root: Path
    cases: dict[str, Any]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """One npz of train_forward/."""
        return dict(np.load(self.root / 'train_forward' / f'{name}.npz'))

    @property
    def models(self) -> Path:
        return self.root / 'models'


def lora_of(state: dict[str, Tensor], golden: Golden) -> dict[str, Any] | None:
    """Rank and targets from the LoRA keys. alpha / r is not in the weights: the merged folder tells it."""
    config = lora_config({k: tuple(v.shape) for k, v in state.items()})
    if config is None:
        return None
    name = next(k for k in state if '.lora_A.' in k).split('.lora_A.')[0]
    merged_name = name.removeprefix('base_model.model.') + '.weight'
    merged = merged_state(golden)[merged_name]
    a, b = state[name + '.lora_A.default.weight'], state[name + '.lora_B.default.weight']
    delta = merged - state[name + '.weight']
    scale = float((delta * (b @ a)).sum() / (b @ a).square().sum())
    return dict(**config, lora_alpha=round(scale * config['r']), lora_dropout=0.0)


def merged_state(golden: Golden) -> dict[str, Tensor]:
    """All shards of the merged folder."""
    folder = golden.models / 'lisa-tiny-hf'
    index = json.loads((folder / 'pytorch_model.bin.index.json').read_text())
    state: dict[str, Tensor] = {}
    for shard in sorted(set(index['weight_map'].values())):
        state.update(torch.load(folder / shard, weights_only=True))
    return state


def model_config(golden: Golden, state: dict[str, Tensor], lora: dict[str, Any] | None) -> dict[str, Any]:
    """A config of LISA with the widths of the folder."""
    base_dir = golden.models / 'lisa-tiny-hf'
    llama = llama_config(read_json(base_dir / 'config.json'), str(base_dir))
    clip_dir = next(golden.models.glob('clip*/config.json')).parent
    clip = clip_config(read_json(clip_dir / 'config.json'), str(clip_dir))
    sam = {k.removeprefix(SAM): tuple(v.shape) for k, v in state.items() if k.startswith(SAM)}
    return dict(
        mllm=dict(
            type='LlavaMLLM',
            vision_tower=dict(type='CLIPVisionTower', config=clip),
            projector=dict(type='LinearProjector'),
            language_model=dict(type='CausalLM', config=llama, tokenizer=str(base_dir), gradient_checkpointing=True),
        ),
        lora=lora,
        tuning=None if lora else 'frozen',
        seg_head=dict(type='SegTokenHead'),
        mask_decoder=dict(type='SAMMaskDecoder', **sam_widths(sam)),
        losses=dict(
            ce=dict(type='CrossEntropyLoss', weight=1.0),
            bce=dict(type='MaskBCELoss', weight=2.0),
            dice=dict(type='MaskDiceLoss', weight=0.5),
        ),
    )


def our_name(name: str, own: set[str]) -> str:
    """The original's parameter name -> that of our model with adapters."""
    ours = from_language_model(name)
    assert ours is not None, name
    return name_in_model(ours, own)


def build_model(golden: Golden, *, merged: bool = False) -> LISA:
    """The training model (LoRA separate), or the merged one."""
    state = merged_state(golden) if merged else torch.load(golden.models / 'train_state' / 'pytorch_model.bin', weights_only=True)
    state = {k.removeprefix('base_model.model.'): v for k, v in state.items() if not k.endswith('rotary_emb.inv_freq')}
    lora = None if merged else lora_of({f'base_model.model.{k}': v for k, v in state.items()}, golden)
    if merged:  # CLIP is not in a merged checkpoint
        clip = torch.load(next(golden.models.glob('clip*/pytorch_model.bin')), weights_only=True)
        state |= {f'model.vision_tower.vision_tower.{k}': v for k, v in clip.items() if k.startswith('vision_model.')}
    torch.manual_seed(0)
    model = LISA(**model_config(golden, state, lora))
    own = set(model.state_dict())
    ours = {our_name(k, own): v for k, v in state.items() if 'position_ids' not in k}
    load_strictly(model, ours, str(golden.root))
    return model


def batch_of(arrays: dict[str, np.ndarray], num_image_tokens: int) -> tuple[dict[str, Tensor], list[SegDataSample]]:
    """The original's collated batch -> our inputs: each -200 becomes N of them, masks and labels grow along."""
    ids = torch.from_numpy(arrays['in_input_ids'])
    offset = arrays['in_offset'].tolist()
    rows = expand(ids, torch.from_numpy(arrays['in_labels']), torch.from_numpy(arrays['in_attention_masks']), num_image_tokens)
    image_index = torch.repeat_interleave(torch.arange(len(offset) - 1), torch.tensor(offset).diff())
    inputs = dict(
        pixel_values=torch.from_numpy(arrays['in_images_clip']),
        mask_images=torch.from_numpy(arrays['in_images']),
        image_index=image_index,
        **rows,
    )
    samples = []
    for i in range(len(offset) - 1):
        sample = SegDataSample(
            metainfo=dict(
                sample_id=str(i),
                original_size=tuple(arrays[f'in_label_size_{i}'].tolist()),
                resized_size=tuple(arrays['in_resize_list'][i].tolist()),
            )
        )
        sample.set_data({'gt_masks': torch.from_numpy(arrays[f'in_masks_{i}'])})
        samples.append(sample)
    return inputs, samples


def expand(ids: Tensor, labels: Tensor, mask: Tensor, n: int) -> dict[str, Tensor]:
    """One placeholder a row -> n sentinels."""
    out: dict[str, list[Tensor]] = {'input_ids': [], 'labels': [], 'attention_mask': []}
    for row_ids, row_labels, row_mask in zip(ids, labels, mask, strict=True):
        repeats = torch.where(row_ids == IMAGE_TOKEN_ID, n, 1)
        out['input_ids'].append(row_ids.repeat_interleave(repeats))
        out['labels'].append(
            row_labels.repeat_interleave(repeats).masked_fill(out['input_ids'][-1] == IMAGE_TOKEN_ID, IGNORE_INDEX)
        )
        out['attention_mask'].append(row_mask.repeat_interleave(repeats))
    return {k: torch.stack(v) for k, v in out.items()}


def close(actual: float, wanted: float, relative: float) -> bool:
    """Relative closeness; a reference of 0 allows rounding only."""
    return abs(actual - wanted) <= relative * abs(wanted) + 1e-9


def validation_set(golden: Golden, spec: str, pipeline: list[Any]) -> BaseSegDataset:
    """A validation set by the name that the tables give it: ``ReasonSeg|split`` or ``name|split by|split``."""
    root = str(golden.root / 'dataset')
    name, *rest = spec.split('|')
    if name == 'ReasonSeg':
        return ReasonSegDataset(root, split=rest[0], test_mode=True, pipeline=pipeline)
    return ReferSegDataset(root, name=name, split_by=rest[0], split=rest[1], test_mode=True, pipeline=pipeline)
