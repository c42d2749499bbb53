"""The layout of LISA's published checkpoints: file set, names, shards and config fields of xinlai/LISA-*.

tests/golden/MANIFEST.md, section 2, describes it. It lacks the vision tower, which config.json names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..datasets.tokenizer import build_tokenizer
from ..errors import CheckpointError
from ..tokens import IMAGE_END, IMAGE_START, SEG_TOKEN, token_id
from . import keys
from .exported import new_folder
from .ledger import Ledger, write_ledger
from .safetensors_writer import shard_names, split_shards
from .sources import TensorInfo, TensorSource, read_json

CLIP_NAME = 'openai/clip-vit-large-patch14'
WANTED_TYPES = {
    'mllm': ('LlavaMLLM',),
    'mllm.vision_tower': ('CLIPVisionTower',),
    'mllm.projector': ('LinearProjector', 'MLPProjector'),
    'mllm.language_model': ('CausalLM',),
    'seg_head': ('SegTokenHead',),
    'mask_decoder': ('SAMMaskDecoder',),
    'mask_decoder.image_encoder': ('SAMImageEncoder',),
}
MAX_LENGTH = 512  # in the published tokenizer_config.json, from the training's model_max_length


def write_published(
    target: str | Path,
    tensors: TensorSource,
    model: Mapping[str, Any],
    *,
    tokenizer: Path,
    record: Mapping[str, Any],
    max_bytes: int,
    vision_tower_name: str | None = None,
    ledger: Ledger | None = None,
) -> None:
    """Write a folder in the published layout.

    Args:
        target: The folder; must not exist.
        tensors: A whole model by our names, adapters merged.
        model: Config of the model.
        tokenizer: Folder with a sentencepiece ``tokenizer.model``.
        record: Its ``published`` holds the config.json of an imported model, whose fields are kept.
        max_bytes: Maximum size of a shard.
        vision_tower_name: Name of the vision tower in config.json.
        ledger: What the model was trained on, in two files of our own; without a data set none is written, and the export of an
            imported model holds the published files alone.

    Raises:
        CheckpointError: if the layout cannot hold a part.
    """
    check_types(model, tokenizer)
    config = published_config(tensors, model, record, tokenizer, vision_tower_name)
    generation = record.get('published', {}).get('generation_config.json') or {
        '_from_model_config': True,
        **{key: config[key] for key in ('bos_token_id', 'eos_token_id', 'pad_token_id')},
        'transformers_version': config['transformers_version'],
        'use_cache': False,
    }
    with new_folder(target) as folder:
        write_bins(folder, PublishedTensors(tensors, config, record.get('inv_freq_dtype')), max_bytes)
        for name, content in (('config.json', config), ('generation_config.json', generation)):
            _write(folder / name, content)
        write_tokenizer(tokenizer, folder, wrapped=config['mm_use_im_start_end'])
        if ledger is not None and ledger.data_sets:
            write_ledger(ledger, folder)


def check_types(model: Mapping[str, Any], tokenizer: Path) -> None:
    """Raise for a model that the layout cannot hold."""
    for place, allowed in WANTED_TYPES.items():
        part: Any = model
        for key in place.split('.'):
            part = part[key]
        if part['type'] not in allowed:
            raise CheckpointError(
                f'model.{place} is {part["type"]}, but the published layout holds {" or ".join(allowed)}. '
                'Export to our own folder instead: --format folder.'
            )
    if model['mllm']['vision_tower'].get('frozen') is False or (model.get('lora') or {}).get('vision_tower'):
        raise CheckpointError(
            'the vision tower was trained, but the published layout holds none. Export to our own folder: --format folder.'
        )
    kind = model['mllm']['language_model']['config'].get('model_type')
    if kind != 'llama' or not (tokenizer / 'tokenizer.model').is_file():
        raise CheckpointError(
            f'the language model is a {kind!r} with the tokenizer of {tokenizer}, but the published layout holds a Llama with a '
            'sentencepiece tokenizer.model. Export to our own folder instead: --format folder.'
        )


class PublishedTensors:
    """A model's tensors with the names, order and rotary buffers of the published files.

    Args:
        tensors: Tensors by our names.
        config: Contents of config.json.
        buffer_dtype: Dtype of the rotary buffers, if it differs from the weights'.
    """

    def __init__(self, tensors: TensorSource, config: Mapping[str, Any], buffer_dtype: str | None = None):
        self._tensors = tensors
        self._config = config
        self._ours: dict[str, str] = {}
        self.info: dict[str, TensorInfo] = {}
        head_dim = config['hidden_size'] // config['num_attention_heads']
        for ours in sorted(tensors.info, key=_place):
            name = keys.to_published(ours)
            if name is None:
                continue
            self._ours[name] = ours
            self.info[name] = tensors.info[ours]
            if name.endswith('.self_attn.o_proj.weight'):
                buffer = name.removesuffix('.self_attn.o_proj.weight') + keys.INV_FREQ
                self.info[buffer] = TensorInfo(
                    (head_dim // 2,), getattr(torch, buffer_dtype) if buffer_dtype else tensors.info[ours].dtype
                )

    def read(self, name: str) -> Tensor:
        """One tensor by its published name."""
        if name.endswith(keys.INV_FREQ):
            return inverse_frequencies(self._config).to(self.info[name].dtype)
        return self._tensors.read(self._ours[name])


def _place(ours: str) -> int:
    """Rank of a tensor's part in the published files; within a part, the model's own order is the same."""
    if ours.startswith(f'{keys.LANGUAGE_MODEL}.model.lm_head.'):
        return 9
    order = (keys.LANGUAGE_MODEL, keys.PROJECTOR, keys.MASK_DECODER, keys.SEG_HEAD)
    part = keys.part_of(ours)
    if part == keys.MASK_DECODER:  # image encoder, prompt encoder, mask decoder
        return 3 + ('image_encoder', 'prompt_encoder', 'decoder').index(ours.split('.')[1])
    return {order[0]: 1, order[1]: 2, order[3]: 6}.get(part, 8)


def inverse_frequencies(config: Mapping[str, Any]) -> Tensor:
    """The rotary buffer of a Llama layer, 1 / theta^(2i / d), float32 (Su et al., RoFormer, 2021)."""
    head_dim = config['hidden_size'] // config['num_attention_heads']
    theta = config.get('rope_theta') or 10000.0
    return 1.0 / (theta ** (torch.arange(0, head_dim, 2).float() / head_dim))


def write_bins(folder: Path, tensors: PublishedTensors, max_bytes: int) -> None:
    """``pytorch_model-0000i-of-0000N.bin`` and their index, or one ``pytorch_model.bin``; one shard in memory at a time."""
    shards = split_shards(tensors.info, max_bytes)
    files = shard_names(len(shards), 'pytorch_model', '.bin')
    for file, names in zip(files, shards, strict=True):
        # a view would save its whole storage
        torch.save({name: _own_storage(tensors.read(name)) for name in names}, folder / file)
    if len(shards) > 1:
        weight_map = {name: file for file, names in zip(files, shards, strict=True) for name in names}
        total = sum(info.nbytes for info in tensors.info.values())
        _write(folder / 'pytorch_model.bin.index.json', {'metadata': {'total_size': total}, 'weight_map': weight_map})


def _own_storage(value: Tensor) -> Tensor:
    value = value.detach().contiguous()
    return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()


def published_config(
    tensors: TensorSource, model: Mapping[str, Any], record: Mapping[str, Any], tokenizer: Path, vision_tower_name: str | None
) -> dict[str, Any]:
    """config.json: the model's original one, or the fields of the published ones.

    The fields are those of tests/golden/models/lisa-tiny-hf/config.json, which LISA's own merge script wrote.
    """
    mllm = model['mllm']
    lm = dict(mllm['language_model']['config'])
    embeddings = tensors.info[f'{keys.LANGUAGE_MODEL}.model.model.embed_tokens.weight']
    prompt_dim = tensors.info[f'{keys.SEG_HEAD}.projection.2.weight'].shape[0]
    came_with = dict(record.get('published', {}).get('config.json') or {})
    was_lisa = came_with.get('architectures') == ['LISAForCausalLM']
    rope = lm.pop('rope_parameters', None) or {}
    tower = vision_tower_name or came_with.get('vision_tower') or came_with.get('mm_vision_tower') or CLIP_NAME
    config = {
        '_name_or_path': 'lisa_mm',
        'bos_token_id': 1,
        'eos_token_id': 2,
        'hidden_act': 'silu',
        'initializer_range': 0.02,
        'max_position_embeddings': 2048,
        'num_key_value_heads': lm['num_attention_heads'],
        'pad_token_id': 0,
        'pretraining_tp': 1,
        'rms_norm_eps': 1e-6,
        'rope_scaling': None,
        'tie_word_embeddings': False,
        'transformers_version': '4.31.0',
        'image_aspect_ratio': 'square',
        'image_grid_pinpoints': None,
        'mm_hidden_size': mllm['vision_tower']['config']['hidden_size'],
        'mm_use_im_patch_token': False,
        'mm_vision_select_feature': 'patch',
        'mm_vision_select_layer': mllm['vision_tower'].get('layer', -2),
        'pretrain_mm_mlp_adapter': None,
        'tune_mm_mlp_adapter': False,
        'use_cache': False,
        'use_mm_proj': True,
        **({'mm_projector_type': 'mlp2x_gelu'} if mllm['projector']['type'] == 'MLPProjector' else {}),
        **{key: value for key, value in lm.items() if value is not None},
        **({'rope_theta': rope['rope_theta']} if rope.get('rope_theta', 10000.0) != 10000.0 else {}),
        **came_with,
        'vocab_size': embeddings.shape[0],
        'torch_dtype': str(embeddings.dtype).removeprefix('torch.'),
        'model_type': 'llava',
        'mm_vision_tower': tower,
        'vision_tower': tower,
    }
    if not was_lisa:
        config |= {
            'architectures': ['LISAForCausalLM'],
            'freeze_mm_mlp_adapter': True,
            'mm_use_im_start_end': bool(mllm['language_model'].get('wrap_image', True)),
            'out_dim': prompt_dim,
            'train_mask_decoder': True,
        }
    if config.get('rope_scaling') or rope.get('rope_type', 'default') != 'default':
        raise CheckpointError(f'{tokenizer}: rope scaling is not part of the published layout. Export with --format folder.')
    return config


def write_tokenizer(source: Path, folder: Path, *, wrapped: bool) -> None:
    """Write the tokenizer's files with the new tokens; they are copied unchanged if they already name ``[SEG]``."""
    shutil.copyfile(source / 'tokenizer.model', folder / 'tokenizer.model')
    content = {}
    for name in ('tokenizer_config.json', 'special_tokens_map.json', 'added_tokens.json'):
        content[name] = read_json(source / name) if (source / name).is_file() else {}
    if SEG_TOKEN not in content['added_tokens.json']:
        built = build_tokenizer(str(source), wrap_image=wrapped)
        new = [SEG_TOKEN, IMAGE_START, IMAGE_END] if wrapped else [SEG_TOKEN]
        content['added_tokens.json'] |= {token: token_id(built, token) for token in new}
        content['special_tokens_map.json'].setdefault('pad_token', built.pad_token)
        content['tokenizer_config.json'] |= {'model_max_length': MAX_LENGTH, 'padding_side': 'right'}
    for name, value in content.items():
        _write(folder / name, value)


def _write(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + '\n', encoding='utf-8')
