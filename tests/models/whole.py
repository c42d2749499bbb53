"""A LISA around a part under test, and batches through the real transforms."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn

from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms import EncodeConversations, PackSegInputs, ResizeForMaskDecoder, ResizeForVisionTower
from lisa_mm.models import LISA
from lisa_mm.models.base import Part
from lisa_mm.models.tuning import flatten, owned_parameters

from .families import CLIP
from .language_families import language_model

AnyPart = TypeVar('AnyPart', bound=Part)
LOSSES = dict(ce=dict(type='CrossEntropyLoss'), bce=dict(type='MaskBCELoss'), dice=dict(type='MaskDiceLoss'))
SAM: dict[str, Any] = dict(
    type='SAMMaskDecoder',
    num_heads=2,
    mlp_dim=32,
    iou_hidden_dim=16,
    image_encoder=dict(
        type='SAMImageEncoder',
        image_size=64,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=2,
        window_size=4,
        global_attn_indexes=(1,),
        out_channels=16,
    ),
)
LORA: dict[str, Any] = dict(r=2, lora_alpha=4, target_modules=['q_proj', 'v_proj'])
TALK = {
    'two': [[('<image>\nthe ball', 'Sure, [SEG].')], [('<image>\nthe cup', 'It is [SEG].'), ('and the ball', '[SEG].')]],
    'one': [[('<image>\nthe red box', 'It is [SEG].')]],
    'none': [[('<image>\nwhat is it', 'A ball.')]],
    'text': [[('what is a ball', 'A round thing.')]],
}


def put_together(tower: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Llama with a vision tower, a CLIP unless another is given."""
    tower = tower or dict(type='CLIPVisionTower', config={k: v for k, v in CLIP.items() if k != 'model_type'}, full_view=True)
    return dict(type='LlavaMLLM', vision_tower=tower, projector=dict(type='MLPProjector'), language_model=language_model('llama'))


def build(mllm: dict[str, Any], mask_decoder: dict[str, Any] | None = None, **settings: Any) -> LISA:
    """A LISA with random weights whose LoRA is not zero."""
    torch.manual_seed(0)
    settings = {'lora': LORA, **settings}
    settings = {'losses': LOSSES, **settings}
    model = LISA(mllm, mask_decoder or SAM, dict(type='SegTokenHead'), **settings)
    for name, parameter in model.named_parameters():
        if 'lora_B' in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model


def sample(model: LISA, size: tuple[int, int], talk: str, seed: int = 0) -> dict[str, Any]:
    """One item of a data set."""
    rng = np.random.default_rng(seed)
    conversations = TALK[talk]
    count = sum(answer.count('[SEG]') for turns in conversations for _, answer in turns)
    results = {
        'img': rng.integers(0, 255, (*size, 3)).astype(np.uint8),
        'original_size': size,
        'sample_id': f'{talk}{seed}',
        'img_path': '',
        'conversations': conversations,
        'gt_masks': rng.integers(0, 2, (count, *size)).astype(np.uint8),
        'test_mode': False,
    }
    mllm = model.mllm
    fixed = None if mllm.tokens_by_image else mllm.num_image_tokens(0, 0)
    for step in (
        ResizeForVisionTower(mllm.preprocess),
        ResizeForMaskDecoder(model.mask_decoder.preprocess),
        EncodeConversations(mllm.tokenizer_spec, fixed),
        PackSegInputs(),
    ):
        results = step(results)
    return results  # pyright: ignore[reportReturnType] - mmengine's transforms may give None


def batch(model: LISA, *items: dict[str, Any]) -> dict[str, Any]:
    """Items as the model gets them."""
    pad = build_tokenizer(**model.mllm.tokenizer_spec).pad_token_id
    return model.data_preprocessor(seg_collate(list(items), pad_token_id=int(pad)))


def frozen_as_it_says(part: AnyPart) -> AnyPart:
    """A part alone with ``requires_grad`` as its arguments say, which LISA sets for all of its parts."""
    groups = flatten(part.trainable_groups())
    for name, parameter in owned_parameters(groups):
        parameter.requires_grad_(not (groups[name].frozen or groups[name].unused))
    return part


def gradients_are_where_they_belong(model: LISA) -> dict[str, nn.Parameter]:
    """After a backward: a gradient in every parameter that trains, none elsewhere; those that train, by name."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    silent = [name for name, p in trained.items() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not silent, silent
    leaked = [name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None]
    assert not leaked, leaked
    return trained
