"""Tensor names: published checkpoints <-> ours.

Our names are those of ``LISA.state_dict()`` without adapters: ``mllm.language_model.model.model.layers.0...``,
``mllm.projector...``, ``mllm.vision_tower.model...``, ``seg_head.projection...``, ``mask_decoder...``. The published names are
facts of the released files (tests/golden/MANIFEST.md, section 2).
"""

from __future__ import annotations

import re
from collections.abc import Container

WRAPPER = 'base_model.model.'  # peft's prefix of every name in a training state
SAM = 'model.visual_model.'
TOWER = 'model.vision_tower.vision_tower.'
LORA = re.compile(r'(?P<layer>.+)\.lora_(?P<side>[AB])\.(?P<adapter>[^.]+)\.weight')
# Tensors that training may add to a weight: LoRA's halves, DoRA's magnitudes, new tokens' rows
_BESIDE = re.compile(r'(?P<layer>.+)\.(?:(?:lora_[AB]|lora_magnitude_vector)\.[^.]+\.weight|new_rows)')
INV_FREQ = '.self_attn.rotary_emb.inv_freq'

# The release of Segment Anything <-> SAMMaskDecoder
_SAM_MODULES = (
    ('image_encoder.', 'image_encoder.vit.'),
    ('mask_decoder.', 'decoder.'),
    ('prompt_encoder.', 'prompt_encoder.'),
)
LANGUAGE_MODEL, PROJECTOR, VISION_TOWER = 'mllm.language_model', 'mllm.projector', 'mllm.vision_tower'
SEG_HEAD, MASK_DECODER = 'seg_head', 'mask_decoder'
PARTS = (LANGUAGE_MODEL, PROJECTOR, VISION_TOWER, SEG_HEAD, MASK_DECODER)

# Tensors that a checkpoint may hold but no part needs, with the reason shown in the table
IGNORED = (
    (re.compile(r'\.rotary_emb\.inv_freq$'), "a buffer: follows from the config's rope_theta and head width"),
    (re.compile(r'(^|\.)position_ids$'), 'a buffer: 0, 1, 2, ...'),
    (re.compile(r'(^|\.)pixel_(mean|std)$'), "SAM's normalisation: constants of the mask decoder here"),
)
CLIP_IGNORED = (
    (re.compile(r'^text_model\.'), "CLIP's text tower: the LLM reads the question"),
    (re.compile(r'^(text_projection|visual_projection)\.weight$'), "CLIP's contrastive head: patch features are taken before it"),
    (re.compile(r'^logit_scale$'), "CLIP's contrastive head: patch features are taken before it"),
)


def reason_to_ignore(name: str, *, clip: bool = False) -> str | None:
    """Why a tensor is left out, or None if it is not known to be unused.

    Args:
        name: The published name.
        clip: Whether it comes from a CLIP folder, which has a text tower.
    """
    rules = IGNORED + CLIP_IGNORED if clip else IGNORED
    return next((reason for pattern, reason in rules if pattern.search(name)), None)


def from_language_model(name: str) -> str | None:
    """The name in a LISA, LLaVA or training state -> ours; None if it is not one of theirs."""
    name = name.removeprefix(WRAPPER)
    if name.startswith(SAM):
        return from_sam(name.removeprefix(SAM))
    if name.startswith(TOWER):
        return from_clip(name.removeprefix(TOWER))
    if match := re.fullmatch(r'model\.mm_projector\.(?:(\d+)\.)?(weight|bias)', name):
        layer = 'linear' if match[1] is None else f'layers.{match[1]}'  # LLaVA v1: one layer; 1.5: a sequence
        return f'{PROJECTOR}.{layer}.{match[2]}'
    if match := re.fullmatch(r'model\.text_hidden_fcs\.0\.(.+)', name):
        return f'{SEG_HEAD}.projection.{match[1]}'
    if re.match(r'(lm_head|model\.embed_tokens|model\.norm|model\.layers\.\d+)\.', name):
        return f'{LANGUAGE_MODEL}.model.{name}'
    return None


def from_sam(name: str) -> str | None:
    """A released SAM's name -> ours."""
    for old, new in _SAM_MODULES:
        if name.startswith(old):
            return f'{MASK_DECODER}.{new}{name.removeprefix(old)}'
    return None


def from_clip(name: str) -> str | None:
    """A CLIP folder's name -> ours."""
    return f'{VISION_TOWER}.model.{name.removeprefix("vision_model.")}' if name.startswith('vision_model.') else None


def to_published(name: str) -> str | None:
    """Our name -> the published LISA's; None for the vision tower, which a published LISA does not contain."""
    if name.startswith(f'{VISION_TOWER}.'):
        return None
    if name.startswith(f'{MASK_DECODER}.'):
        inner = name.removeprefix(f'{MASK_DECODER}.')
        old, new = next(pair for pair in _SAM_MODULES if inner.startswith(pair[1]))
        return SAM + old + inner.removeprefix(new)
    if name.startswith(f'{PROJECTOR}.'):
        return 'model.mm_projector.' + name.removeprefix(f'{PROJECTOR}.').removeprefix('linear.').removeprefix('layers.')
    if name.startswith(f'{SEG_HEAD}.'):
        return 'model.text_hidden_fcs.0.' + name.removeprefix(f'{SEG_HEAD}.projection.')
    return name.removeprefix(f'{LANGUAGE_MODEL}.model.')


def name_in_model(name: str, own: Container[str]) -> str:
    """Our name without adapters -> the one in a model that may have them (peft calls a wrapped layer ``base_layer``)."""
    if name in own:
        return name
    head, _, leaf = name.rpartition('.')
    wrapped = f'{head}.base_layer.{leaf}'
    return wrapped if wrapped in own else name


def without_adapters(name: str) -> str:
    """The reverse of :func:`name_in_model`."""
    return name.replace('.base_layer.', '.')


def merged_into(name: str) -> str | None:
    """The weight that an adapter's tensor, or new tokens' rows, merge into; None for any other name."""
    beside = _BESIDE.fullmatch(name)
    return f'{beside["layer"]}.weight' if beside else None


def is_adapter(name: str) -> bool:
    """Whether a tensor of our model supplements a weight: a LoRA tensor, or the rows of new tokens."""
    return merged_into(name) is not None


def part_of(name: str) -> str:
    """The one of :data:`PARTS` that owns a tensor of ours."""
    return next((part for part in PARTS if name.startswith(part + '.')), name.split('.')[0])
