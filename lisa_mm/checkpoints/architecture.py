"""Derive the parts' configs from a checkpoint's tensor shapes and its config.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError
from .keys import LORA, PROJECTOR

Shapes = Mapping[str, tuple[int, ...]]

# Heads of SAM's two-way transformer: checkpoints don't record them; the value of the release (segment_anything/build_sam.py)
DECODER_HEADS = 8
# Local windows of the release; the shapes show them unless all blocks of a SAM are global
WINDOW = 14
LLAMA_FIELDS = (
    'vocab_size',
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_key_value_heads',
    'hidden_act',
    'max_position_embeddings',
    'initializer_range',
    'rms_norm_eps',
    'rope_theta',
    'rope_scaling',
    'attention_bias',
    'tie_word_embeddings',
    'bos_token_id',
    'eos_token_id',
    'pad_token_id',
)
CLIP_FIELDS = (
    'hidden_size',
    'intermediate_size',
    'num_hidden_layers',
    'num_attention_heads',
    'num_channels',
    'image_size',
    'patch_size',
    'hidden_act',
    'layer_norm_eps',
    'projection_dim',
)


def sam_widths(shapes: Shapes, *, heads: int = DECODER_HEADS) -> dict[str, Any]:
    """Arguments of ``SAMMaskDecoder`` that match the shapes of a released state dict.

    Args:
        shapes: Shapes by the release's names.
        heads: Attention heads of the mask decoder's transformer.

    Raises:
        CheckpointError: if a tensor that determines a width is missing.
    """
    try:
        return _sam_widths(shapes, heads)
    except (KeyError, IndexError, StopIteration) as error:
        raise CheckpointError(
            f'this is no whole Segment Anything checkpoint: {error} is missing. Give a sam_vit_*.pth as released.'
        ) from error


def _sam_widths(shapes: Shapes, heads: int) -> dict[str, Any]:
    blocks = sorted({int(m[1]) for k in shapes if (m := re.match(r'image_encoder\.blocks\.(\d+)\.', k))})
    _, grid, _, dim = shapes['image_encoder.pos_embed']
    patch = shapes['image_encoder.patch_embed.proj.weight'][-1]
    relative = {b: shapes[f'image_encoder.blocks.{b}.attn.rel_pos_h'] for b in blocks}
    spans = {b: (shape[0] + 1) // 2 for b, shape in relative.items()}  # 2 x span - 1 relative positions
    windows = [span for span in spans.values() if span != grid]
    transformer, iou = 'mask_decoder.transformer.layers.', 'mask_decoder.iou_prediction_head.layers.'
    return dict(
        image_encoder=dict(
            type='SAMImageEncoder',
            image_size=grid * patch,
            patch_size=patch,
            embed_dim=dim,
            depth=len(blocks),
            num_heads=dim // relative[blocks[0]][1],
            global_attn_indexes=tuple(b for b in blocks if spans[b] == grid),
            window_size=windows[0] if windows else WINDOW,
            out_channels=shapes['image_encoder.neck.0.weight'][0],
        ),
        depth=len({k.split('.')[3] for k in shapes if k.startswith(transformer)}),
        num_heads=heads,
        mlp_dim=shapes[f'{transformer}0.mlp.lin1.weight'][0],
        iou_hidden_dim=shapes[f'{iou}0.weight'][0],
        iou_depth=len({k.split('.')[3] for k in shapes if k.startswith(iou)}),
        mask_in_channels=shapes['prompt_encoder.mask_downscaling.3.weight'][0],
    )


def llama_config(written: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``CausalLM(config=...)`` from the config.json of a Llama, LLaVA or LISA folder.

    Raises:
        CheckpointError: if it describes another architecture.
    """
    if written.get('model_type') not in ('llava', 'llama', 'llava_llama') or 'hidden_size' not in written:
        raise CheckpointError(
            f'{where}: model_type is {written.get("model_type")!r}; allowed: a LISA, LLaVA v1/v1.5 or Llama folder '
            "(model_type 'llava', 'llava_llama', 'llama', with hidden_size). A model in another layout is named as "
            'language_model.pretrained in a config instead.'
        )
    return {'model_type': 'llama', **{key: written[key] for key in LLAMA_FIELDS if written.get(key) is not None}}


def clip_config(written: Mapping[str, Any], where: str) -> dict[str, Any]:
    """``CLIPVisionTower(config=...)`` from the config.json of a CLIP folder (two towers or the image tower).

    Raises:
        CheckpointError: if it describes another architecture.
    """
    vision = written.get('vision_config', written)
    if written.get('model_type') not in ('clip', 'clip_vision_model') or 'hidden_size' not in vision:
        raise CheckpointError(
            f'{where}: model_type is {written.get("model_type")!r}, not a CLIP. Give a folder laid out as '
            'openai/clip-vit-large-patch14.'
        )
    return {key: vision[key] for key in CLIP_FIELDS if vision.get(key) is not None}


def projector_config(shapes: Shapes) -> dict[str, Any]:
    """The projector's config from the shapes of its tensors, by our names."""
    layers = [name for name in shapes if re.fullmatch(PROJECTOR.replace('.', r'\.') + r'\.layers\.\d+\.weight', name)]
    return dict(type='MLPProjector', depth=len(layers)) if layers else dict(type='LinearProjector')


def lora_config(shapes: Shapes) -> dict[str, Any] | None:
    """``r`` and ``target_modules`` of a training state's adapters; None without adapters. The tensors do not hold alpha."""
    down = {match['layer']: shape for name, shape in shapes.items() if (match := LORA.fullmatch(name)) and match['side'] == 'A'}
    if not down:
        return None
    targets = sorted({layer.rsplit('.', 1)[-1] for layer in down})
    return dict(r=next(iter(down.values()))[0], target_modules=targets)
