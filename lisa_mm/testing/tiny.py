"""A model of a few thousand parameters with one part replaced, and pictures for it."""

from __future__ import annotations

import copy
import inspect
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import Registry
from PIL import Image
from torch import nn

from .. import registry as registries
from ..errors import ConfigError
from ..models import LISA
from ..models.base import (
    BaseImageEncoder,
    BaseLanguageModel,
    BaseLoss,
    BaseMaskDecoder,
    BaseMLLM,
    BaseProjector,
    BaseSegHead,
    BaseVisionTower,
)
from ..registry import BACKBONES, DATASETS, LANGUAGE_MODELS, LOSSES, MASK_DECODERS, MLLMS, MODELS, PROJECTORS, SEG_HEADS

TOKENIZER = 'weights://nano/tokenizer'
MODEL: dict[str, Any] = dict(
    type='LISA',
    mllm=dict(
        type='LlavaMLLM',
        vision_tower=dict(
            type='CLIPVisionTower',
            full_view=True,
            config=dict(
                hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=32, patch_size=8
            ),
        ),
        projector=dict(type='LinearProjector', frozen=False),
        language_model=dict(
            type='CausalLM',
            config=dict(
                model_type='llama',
                vocab_size=1400,
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=1024,
            ),
            tokenizer=TOKENIZER,
            template='plain',
        ),
    ),
    mask_decoder=dict(
        type='SAMMaskDecoder',
        num_heads=2,
        mlp_dim=32,
        iou_hidden_dim=16,
        image_encoder=dict(
            type='SAMImageEncoder',
            image_size=64,
            patch_size=8,
            embed_dim=16,
            depth=2,
            num_heads=2,
            window_size=4,
            global_attn_indexes=(1,),
            out_channels=16,
        ),
    ),
    seg_head=dict(type='SegTokenHead'),
    losses=dict(ce=dict(type='CrossEntropyLoss'), bce=dict(type='MaskBCELoss'), dice=dict(type='MaskDiceLoss')),
    lora=dict(r=2, lora_alpha=4, target_modules='all-linear'),
)
PIPELINE: list[dict[str, Any]] = [
    dict(type='LoadImage'),
    dict(type='DecodeMasks'),
    dict(type='ResizeForVisionTower'),
    dict(type='ResizeForMaskDecoder'),
    dict(type='EncodeConversations'),
    dict(type='PackSegInputs'),
]
# By image: two masks in one answer and one in another; one mask; none; a picture of odd size; text alone
ROWS: list[dict[str, Any]] = [
    {'image': 'a.png', 'question': 'the ball', 'answer': 'Sure, [SEG] and [SEG].', 'masks': 2},
    {'image': 'a.png', 'question': 'the cup', 'answer': 'It is [SEG].', 'masks': 1},
    {'image': 'b.png', 'question': 'the red box', 'answer': 'It is [SEG].', 'masks': 1},
    {'image': 'c.png', 'question': 'what is it', 'answer': 'A ball.', 'masks': 0},
    {'question': 'what is a ball', 'answer': 'A round thing.', 'masks': 0},
]
SIZES = {'a.png': (48, 64), 'b.png': (37, 53), 'c.png': (64, 40)}


@dataclass(frozen=True)
class Slot:
    """The place of a role's parts in the model.

    Args:
        role: Name of the role in errors.
        base: Base class of the parts.
        registry: Their registry.
        place: Their path in the config.
    """

    role: str
    base: type
    registry: Registry
    place: str


SLOTS = (
    Slot('model', LISA, MODELS, 'model'),
    Slot('multimodal LLM', BaseMLLM, MLLMS, 'model.mllm'),
    Slot('vision tower', BaseVisionTower, BACKBONES, 'model.mllm.vision_tower'),
    Slot('projector', BaseProjector, PROJECTORS, 'model.mllm.projector'),
    Slot('language model', BaseLanguageModel, LANGUAGE_MODELS, 'model.mllm.language_model'),
    Slot('seg head', BaseSegHead, SEG_HEADS, 'model.seg_head'),
    Slot('mask decoder', BaseMaskDecoder, MASK_DECODERS, 'model.mask_decoder'),
    Slot('image encoder', BaseImageEncoder, BACKBONES, 'model.mask_decoder.image_encoder'),
    Slot('loss', BaseLoss, LOSSES, 'model.losses.checked'),
)


def slot_of(part: dict[str, Any] | type) -> tuple[Slot, dict[str, Any], type]:
    """The slot of a part, its config with the registered name, and its class.

    Raises:
        ConfigError: for a class that derives from no role's base, or is not registered.
    """
    written = dict(part) if isinstance(part, dict) else {'type': part}
    kind = written.get('type')
    cls = kind if inspect.isclass(kind) else next(filter(None, (registered(slot.registry, kind) for slot in SLOTS)), None)
    if cls is None:
        raise ConfigError(f'{kind!r} is registered in no role. Import the module that registers it before check_part.')
    slot = next((slot for slot in SLOTS if issubclass(cls, slot.base)), None)
    if slot is None:
        bases = ', '.join(slot.base.__name__ for slot in SLOTS)
        raise ConfigError(f'{cls.__name__} derives from no base class of a part of the model: {bases}.')
    return slot, {**written, 'type': registered_name(slot.registry, cls)}, cls


def registered_name(registry: Registry, cls: type) -> str:
    """The name of a class in its registry.

    Raises:
        ConfigError: if it is not there.
    """
    name = next((name for name, found in registry.module_dict.items() if found is cls), None)
    if name is None:
        variable = next(key for key, value in vars(registries).items() if value is registry)
        raise ConfigError(f'{cls.__name__} is not registered: put @{variable}.register_module() before its class.')
    return name


def registered(registry: Registry, name: object) -> type | None:
    """The class of a name in a registry, or None."""
    registry.import_from_location()
    return registry.module_dict.get(str(name))


def write_pictures(folder: Path) -> None:
    """Write a train.jsonl with noise pictures and masks, with every kind of row."""
    rng = np.random.default_rng(0)
    for name, (height, width) in SIZES.items():
        Image.fromarray(rng.integers(0, 255, (height, width, 3), dtype=np.uint8)).save(folder / name)
    lines = []
    for row in ROWS:
        square = [[[4 + i, 4], [30, 4], [30, 30], [4 + i, 30]] for i in range(row['masks'])]
        lines.append(json.dumps({**row, 'masks': square}))
    (folder / 'train.jsonl').write_text('\n'.join(lines) + '\n', encoding='utf-8')


def tiny_source(slot: Slot, written: dict[str, Any], cls: type, folder: Path, **settings: object) -> Config:
    """A config of :func:`training` with a part in its slot.

    Args:
        slot, written, cls: The part, see :func:`slot_of`.
        folder: Folder of the pictures.
        settings: Keys that replace those of ``model``.
    """
    model = {**copy.deepcopy(MODEL), **settings}
    if slot.place == 'model':
        model |= written
    else:
        *way, last = slot.place.split('.')[1:]
        inside = model
        for key in way:
            inside = inside[key]
        inside[last] = written
    return training(model, folder, cls)


def training(model: dict[str, Any], folder: Path, cls: type) -> Config:
    """A config that trains a model on the CPU for two steps of two pictures each.

    Args:
        model: Config of the model.
        folder: Folder of the pictures.
        cls: Class whose module is imported, so that other processes know it.
    """
    plugin = cls.__module__.partition('.')[0] not in ('lisa_mm', '__main__')
    return Config(
        dict(
            model=model,
            data_root=str(folder),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                sampler=dict(type='SeekableSampler'),
                collate_fn=dict(type='seg_collate'),
                dataset=dict(
                    type='JsonlSegDataset', data_root=str(folder), questions_per_image=2, pipeline=copy.deepcopy(PIPELINE)
                ),
            ),
            train_cfg=dict(type='IterTrainLoop', max_iters=2),
            strategy=dict(type='LisaSingleDeviceStrategy'),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
            default_hooks=dict(
                checkpoint=dict(type='SafeCheckpointHook', interval=2), logger=dict(type='ProgressHook', interval=1)
            ),
            randomness=dict(seed=0),
            log_level='ERROR',
            # mmengine names loggers by the second: two checks of one second would write into one folder
            experiment_name=f'check_part_{time.time_ns()}',
            **({'custom_imports': dict(imports=[cls.__module__], allow_failed_imports=False)} if plugin else {}),
        )
    )


def items_of(compiled: Config) -> list[dict[str, Any]]:
    """Every picture of the training set, run through its pipeline."""
    dataset = DATASETS.build(compiled.train_dataloader.dataset.to_dict())
    return [dataset[index] for index in range(len(dataset))]


def modules_of(model: nn.Module, place: str) -> nn.Module:
    """The module that a config path such as ``model.mllm.projector`` names."""
    for key in place.split('.')[1:]:
        model = getattr(model, key)
    return model
