"""Tiny whole models and mask decoders with random weights; processors are made from the nano tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import transformers
from transformers import AutoTokenizer
from transformers.utils import is_timm_available

import lisa_mm
from lisa_mm.models.transformers_versions import BUILDS_EDGETAM

TOKENIZER = Path(lisa_mm.PACKAGE_DIR) / 'weights' / 'nano' / 'tokenizer'
TEXT: dict[str, Any] = dict(
    vocab_size=1400,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=1024,
    initializer_range=0.1,
    bos_token_id=1,
    eos_token_id=2,
    pad_token_id=3,
)
CLIP: dict[str, Any] = dict(
    model_type='clip_vision_model',
    hidden_size=24,
    intermediate_size=48,
    num_hidden_layers=3,
    num_attention_heads=2,
    image_size=32,
    patch_size=8,
    projection_dim=16,
    initializer_range=0.2,
)
MROPE = dict(rope_type='default', rope_theta=10000.0, mrope_section=[2, 1, 1])
SQUARE = dict(size=dict(height=32, width=32), do_center_crop=False)
# What a chat template of the family writes around its turns, in short
CHAT = (
    "{% for m in messages %}<s>{{ m['role'] }}: {% if m['content'] is string %}{{ m['content'] }}{% else %}"
    "{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}</s>"
    '{% endfor %}{% if add_generation_prompt %}<s>assistant:{% endif %}'
)


def _tokenizer(folder: Path, names: dict[str, str]) -> tuple[Any, dict[str, int]]:
    tokenizer = AutoTokenizer.from_pretrained(TOKENIZER, extra_special_tokens=names)
    tokenizer.add_tokens(
        [transformers.AddedToken(text, special=True, normalized=False) for text in names.values()], special_tokens=True
    )
    tokenizer.save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    return tokenizer, {name: tokenizer.convert_tokens_to_ids(text) for name, text in names.items()}


def whole_model(family: str, folder: Path) -> dict[str, Any]:
    """Arguments of an ``HFMLLM`` of a family; its processor is written into ``folder``."""
    config, processor, image = MAKERS[family](folder)
    processor.chat_template = CHAT.replace('IMAGE', image)
    processor.tokenizer.chat_template = processor.chat_template
    processor.save_pretrained(folder)
    return dict(type='HFMLLM', config=config, processor=str(folder))


def _llava(folder: Path) -> tuple[dict, Any, str]:
    tokenizer, ids = _tokenizer(folder, {'image_token': '<image>'})
    processor = transformers.LlavaProcessor(
        image_processor=transformers.CLIPImageProcessor(**SQUARE),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy='default',
        num_additional_image_tokens=1,
    )
    text = dict(model_type='llama', **TEXT)
    return (
        dict(model_type='llava', text_config=text, vision_config=CLIP, image_token_index=ids['image_token']),
        processor,
        '<image>\n',
    )


def _llava_next(folder: Path) -> tuple[dict, Any, str]:
    tokenizer, ids = _tokenizer(folder, {'image_token': '<image>'})
    grid = [[32, 64], [64, 32], [64, 64]]
    processor = transformers.LlavaNextProcessor(
        image_processor=transformers.LlavaNextImageProcessor(
            size=dict(shortest_edge=32), crop_size=dict(height=32, width=32), image_grid_pinpoints=grid
        ),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy='default',
        num_additional_image_tokens=1,
    )
    config = dict(
        model_type='llava_next',
        text_config=dict(model_type='mistral', **TEXT),
        vision_config=CLIP,
        image_grid_pinpoints=grid,
        image_token_index=ids['image_token'],
    )
    return config, processor, '<image>\n'


def _llava_onevision(folder: Path) -> tuple[dict, Any, str]:
    tokenizer, ids = _tokenizer(folder, {'image_token': '<image>', 'video_token': '<video>'})
    grid = [[32, 64], [64, 32], [64, 64]]
    processor = transformers.LlavaOnevisionProcessor(
        image_processor=transformers.LlavaOnevisionImageProcessor(size=dict(height=32, width=32), image_grid_pinpoints=grid),
        tokenizer=tokenizer,
        video_processor=transformers.LlavaOnevisionVideoProcessor(),
        num_image_tokens=16,
        vision_feature_select_strategy='full',
    )
    vision = {**CLIP, 'model_type': 'siglip_vision_model'}
    vision.pop('projection_dim')
    vision.pop('initializer_range')
    config = dict(
        model_type='llava_onevision',
        text_config=dict(model_type='qwen2', **TEXT),
        vision_config=vision,
        image_grid_pinpoints=grid,
        image_token_index=ids['image_token'],
        video_token_index=ids['video_token'],
        vision_feature_select_strategy='full',
        vision_feature_layer=-1,
    )
    return config, processor, '<image>\n'


QWEN = {
    'image_token': '<|image_pad|>',
    'video_token': '<|video_pad|>',
    'vision_bos_token': '<|vision_start|>',
    'vision_eos_token': '<|vision_end|>',
}


def _qwen(folder: Path, family: str) -> tuple[dict, Any, str]:
    tokenizer, ids = _tokenizer(folder, QWEN)
    patch = 4
    limits = dict(shortest_edge=4 * 64, longest_edge=32 * 64)
    image_processor = transformers.Qwen2VLImageProcessor(patch_size=patch, merge_size=2, size=limits)
    videos = {'qwen3_vl': 'Qwen3VLVideoProcessor'}.get(family, 'Qwen2VLVideoProcessor')
    names = {'qwen2_vl': 'Qwen2VLProcessor', 'qwen2_5_vl': 'Qwen2_5_VLProcessor', 'qwen3_vl': 'Qwen3VLProcessor'}
    processor = getattr(transformers, names[family])(
        image_processor=image_processor, tokenizer=tokenizer, video_processor=getattr(transformers, videos)()
    )
    vision: dict[str, Any] = {
        'qwen2_vl': dict(depth=2, embed_dim=16, hidden_size=32, num_heads=2, mlp_ratio=2, patch_size=patch),
        'qwen2_5_vl': dict(
            depth=2,
            hidden_size=16,
            intermediate_size=32,
            num_heads=2,
            patch_size=patch,
            window_size=16,
            out_hidden_size=32,
            fullatt_block_indexes=[1],
        ),
        'qwen3_vl': dict(
            depth=2,
            hidden_size=16,
            intermediate_size=32,
            num_heads=2,
            patch_size=patch,
            out_hidden_size=32,
            num_position_embeddings=64,
            deepstack_visual_indexes=[0],
        ),
    }[family]
    text: dict[str, Any] = dict(TEXT, rope_parameters=MROPE)
    if family == 'qwen3_vl':
        text |= dict(head_dim=8, rope_parameters=dict(MROPE, mrope_interleaved=True))
    config = dict(
        model_type=family,
        text_config=text,
        vision_config=vision,
        image_token_id=ids['image_token'],
        video_token_id=ids['video_token'],
        vision_start_token_id=ids['vision_bos_token'],
        vision_end_token_id=ids['vision_eos_token'],
    )
    return config, processor, '<|vision_start|><|image_pad|><|vision_end|>'


def _internvl(folder: Path) -> tuple[dict, Any, str]:
    names = {
        'start_image_token': '<img>',
        'end_image_token': '</img>',
        'context_image_token': '<IMG_CONTEXT>',
        'video_token': '<video>',
    }
    tokenizer, ids = _tokenizer(folder, names)
    processor = transformers.InternVLProcessor(
        image_processor=transformers.GotOcr2ImageProcessor(
            size=dict(height=32, width=32), crop_to_patches=True, min_patches=1, max_patches=4
        ),
        tokenizer=tokenizer,
        video_processor=transformers.InternVLVideoProcessor(),
        image_seq_length=4,
    )
    vision = dict(
        hidden_size=24, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2, image_size=[32, 32], patch_size=[8, 8]
    )
    config = dict(
        model_type='internvl',
        text_config=dict(model_type='qwen2', **TEXT),
        vision_config=vision,
        image_token_id=ids['context_image_token'],
        image_seq_length=4,
    )
    return config, processor, '<IMG_CONTEXT>\n'


def _gemma3(folder: Path) -> tuple[dict, Any, str]:
    names = {'image_token': '<image_soft_token>', 'boi_token': '<start_of_image>', 'eoi_token': '<end_of_image>'}
    tokenizer, ids = _tokenizer(folder, names)
    processor = transformers.Gemma3Processor(
        image_processor=transformers.Gemma3ImageProcessor(size=dict(height=32, width=32)),
        tokenizer=tokenizer,
        image_seq_length=4,
    )
    vision = {key: value for key, value in CLIP.items() if key not in ('projection_dim', 'initializer_range', 'model_type')}
    config = dict(
        model_type='gemma3',
        text_config=dict(TEXT, head_dim=8, query_pre_attn_scalar=8),
        vision_config=vision,
        mm_tokens_per_image=4,
        image_token_index=ids['image_token'],
        boi_token_index=ids['boi_token'],
        eoi_token_index=ids['eoi_token'],
    )
    return config, processor, '<start_of_image>'


def _idefics3(folder: Path) -> tuple[dict, Any, str]:
    names = {
        'image_token': '<image>',
        'fake_image_token': '<fake_token_around_image>',
        'global_image_token': '<global-img>',
        'end_of_utterance_token': '<end_of_utterance>',
    }
    tokenizer, ids = _tokenizer(folder, names)
    processor = transformers.Idefics3Processor(
        image_processor=transformers.Idefics3ImageProcessor(size=dict(longest_edge=64), max_image_size=dict(longest_edge=32)),
        tokenizer=tokenizer,
        image_seq_len=4,
    )
    vision = {key: value for key, value in CLIP.items() if key not in ('projection_dim', 'initializer_range', 'model_type')}
    config = dict(
        model_type='idefics3',
        text_config=dict(model_type='llama', **TEXT),
        vision_config=vision,
        scale_factor=2,
        image_token_id=ids['image_token'],
        pad_token_id=3,
    )
    return config, processor, '<image>'


MAKERS = {
    'llava': _llava,
    'qwen2_5_vl': lambda folder: _qwen(folder, 'qwen2_5_vl'),
    'llava_next': _llava_next,
    'llava_onevision': _llava_onevision,
    'qwen2_vl': lambda folder: _qwen(folder, 'qwen2_vl'),
    'qwen3_vl': lambda folder: _qwen(folder, 'qwen3_vl'),
    'internvl': _internvl,
    'gemma3': _gemma3,
    'idefics3': _idefics3,
}

_DECODER = dict(hidden_size=16, mlp_dim=32, num_hidden_layers=2, num_attention_heads=2, iou_head_hidden_dim=16)
_SAM_DECODER = dict(_DECODER, layer_norm_eps=1e-5)
_PROMPTS = dict(hidden_size=16, image_size=64, patch_size=8, mask_input_channels=16)
_PYRAMID = dict(fpn_hidden_size=16, backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]])
_SAM_VISION = dict(
    hidden_size=24,
    output_channels=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    image_size=64,
    patch_size=8,
    window_size=4,
    global_attn_indexes=[1],
    num_pos_feats=8,
    mlp_dim=96,
    initializer_range=0.02,
)
MASK_DECODERS: dict[str, dict[str, Any]] = {
    'sam': dict(
        model_type='sam',
        vision_config=_SAM_VISION,
        prompt_encoder_config=_PROMPTS,
        mask_decoder_config=_SAM_DECODER,
        initializer_range=0.02,
    ),
    'sam_hq': dict(
        model_type='sam_hq',
        vision_config=_SAM_VISION,
        prompt_encoder_config=_PROMPTS,
        mask_decoder_config=dict(_SAM_DECODER, vit_dim=24),
        initializer_range=0.02,
    ),
    'sam2': dict(
        model_type='sam2',
        vision_config=dict(
            _PYRAMID,
            backbone_channel_list=[64, 32, 16, 8],
            backbone_config=dict(
                model_type='sam2_hiera_det_model',
                image_size=[128, 128],
                hidden_size=8,
                blocks_per_stage=[1, 2, 2, 1],
                embed_dim_per_stage=[8, 16, 32, 64],
                num_attention_heads_per_stage=[1, 1, 2, 2],
                window_size_per_stage=[8, 4, 4, 2],
                global_attention_blocks=[4],
            ),
        ),
        prompt_encoder_config=dict(_PROMPTS, image_size=128, patch_size=16),
        mask_decoder_config=_DECODER,
    ),
    'sam3_tracker': dict(
        model_type='sam3_tracker',
        vision_config=dict(
            _PYRAMID,
            model_type='sam3_vision_model',
            scale_factors=[4.0, 2.0, 1.0],
            backbone_config=dict(
                model_type='sam3_vit_model',
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                image_size=64,
                pretrain_image_size=32,
                patch_size=8,
                window_size=4,
                global_attn_indexes=[1],
            ),
        ),
        prompt_encoder_config=_PROMPTS,
        mask_decoder_config=_DECODER,
    ),
    'edgetam': dict(
        model_type='edgetam',
        vision_config=dict(
            _PYRAMID,
            model_type='edgetam_vision_model',
            backbone_config=dict(
                model_type='timm_wrapper',
                architecture='repvit_m1',
                num_classes=1,
                model_args=dict(in_chans=3, features_only=True, out_indices=[0, 1, 2, 3]),
            ),
        ),
        prompt_encoder_config=dict(_PROMPTS, image_size=128, patch_size=16),
        mask_decoder_config=_DECODER,
    ),
}
NO_TIMM = pytest.mark.skipif(
    not (is_timm_available() and BUILDS_EDGETAM), reason='needs timm (lisa_mm[edgetam]) and transformers 5.20'
)
DECODER_KINDS = [pytest.param(kind, marks=NO_TIMM) if kind == 'edgetam' else kind for kind in MASK_DECODERS]


def mask_decoder(kind: str) -> dict[str, Any]:
    """Arguments of an ``HFMaskDecoder`` of a kind."""
    return dict(type='HFMaskDecoder', config=MASK_DECODERS[kind])
