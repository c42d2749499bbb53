"""The tensors of the published checkpoints, on the meta device: names and shapes written down from the released models.

Llama 2 7B and 13B (hidden size, layers, MLP width), vocabulary 32000 + 3, SAM ViT-H as the released package builds it, CLIP
ViT-L/14. None is missing, none left over but the named ones.
"""

from __future__ import annotations

import pytest
import torch
from segment_anything import sam_model_registry

from lisa_mm.checkpoints import keys
from lisa_mm.checkpoints.architecture import sam_widths
from lisa_mm.checkpoints.importing import part_configs, part_shapes
from lisa_mm.checkpoints.published import PublishedTensors
from lisa_mm.checkpoints.sources import TensorInfo
from lisa_mm.checkpoints.table import FAULTS, IGNORED, USED, Row, Table
from lisa_mm.models.backbones.sam_image_encoder import VARIANTS

CLIP_L = dict(
    hidden_size=1024, intermediate_size=4096, num_hidden_layers=24, num_attention_heads=16, image_size=224, patch_size=14
)
SIZES = {
    '7b': dict(hidden_size=4096, num_hidden_layers=32, intermediate_size=11008, num_attention_heads=32),
    '13b': dict(hidden_size=5120, num_hidden_layers=40, intermediate_size=13824, num_attention_heads=40),
}
ROWS = 32000 + 3


def llama_names(size):
    """Names and shapes of a Llama, with the rotary buffers that transformers 4.31 saved."""
    d, mlp = size['hidden_size'], size['intermediate_size']
    yield 'model.embed_tokens.weight', (ROWS, d)
    for i in range(size['num_hidden_layers']):
        layer = f'model.layers.{i}'
        for name in 'qkvo':
            yield f'{layer}.self_attn.{name}_proj.weight', (d, d)
        yield f'{layer}.self_attn.rotary_emb.inv_freq', (d // size['num_attention_heads'] // 2,)
        yield f'{layer}.mlp.gate_proj.weight', (mlp, d)
        yield f'{layer}.mlp.up_proj.weight', (mlp, d)
        yield f'{layer}.mlp.down_proj.weight', (d, mlp)
        yield f'{layer}.input_layernorm.weight', (d,)
        yield f'{layer}.post_attention_layernorm.weight', (d,)
    yield 'model.norm.weight', (d,)


def sam_names(variant='vit_h'):
    with torch.device('meta'):
        sam = sam_model_registry[variant]()
    return {name: tuple(value.shape) for name, value in sam.state_dict().items()}


def published_names(size, projector):
    """A published LISA, in the order of its files."""
    d = size['hidden_size']
    names = dict(llama_names(size))
    if projector == 'linear':
        names |= {'model.mm_projector.weight': (d, 1024), 'model.mm_projector.bias': (d,)}
    else:
        names |= {'model.mm_projector.0.weight': (d, 1024), 'model.mm_projector.0.bias': (d,)}
        names |= {'model.mm_projector.2.weight': (d, d), 'model.mm_projector.2.bias': (d,)}
    names |= {f'model.visual_model.{name}': shape for name, shape in sam_names().items()}
    names |= {'model.text_hidden_fcs.0.0.weight': (d, d), 'model.text_hidden_fcs.0.0.bias': (d,)}
    names |= {'model.text_hidden_fcs.0.2.weight': (256, d), 'model.text_hidden_fcs.0.2.bias': (256,)}
    return names | {'lm_head.weight': (ROWS, d)}


def clip_names():
    """The image tower of openai/clip-vit-large-patch14."""
    d, mlp = 1024, 4096
    tower = 'vision_model'
    yield f'{tower}.embeddings.class_embedding', (d,)
    yield f'{tower}.embeddings.patch_embedding.weight', (d, 3, 14, 14)
    yield f'{tower}.embeddings.position_embedding.weight', (257, d)
    yield f'{tower}.embeddings.position_ids', (1, 257)
    norms = [f'{tower}.pre_layrnorm', f'{tower}.post_layernorm']
    for i in range(24):
        layer = f'{tower}.encoder.layers.{i}'
        for name in ('q', 'k', 'v', 'out'):
            yield f'{layer}.self_attn.{name}_proj.weight', (d, d)
            yield f'{layer}.self_attn.{name}_proj.bias', (d,)
        yield f'{layer}.mlp.fc1.weight', (mlp, d)
        yield f'{layer}.mlp.fc1.bias', (mlp,)
        yield f'{layer}.mlp.fc2.weight', (d, mlp)
        yield f'{layer}.mlp.fc2.bias', (d,)
        norms += [f'{layer}.layer_norm1', f'{layer}.layer_norm2']
    for norm in norms:
        yield f'{norm}.weight', (d,)
        yield f'{norm}.bias', (d,)
    yield 'visual_projection.weight', (768, 1024)
    yield 'text_projection.weight', (768, 768)
    yield 'logit_scale', ()
    yield 'text_model.embeddings.token_embedding.weight', (49408, 768)
    yield 'text_model.embeddings.position_ids', (1, 77)


def table_of(names, rename, *, clip=False):
    rows = []
    for name, shape in names.items():
        reason = keys.reason_to_ignore(name, clip=clip)
        target = None if reason else rename(name)
        assert reason or target, name
        rows.append(Row(IGNORED if reason else USED, name, target or '', shape, reason or ''))
    return rows


@pytest.mark.parametrize('projector', ['linear', 'mlp'])
@pytest.mark.parametrize('size', list(SIZES))
def test_every_tensor_of_a_published_checkpoint(size, projector, tmp_path):
    names = published_names(SIZES[size], projector)
    table = Table(table_of(names, keys.from_language_model) + table_of(dict(clip_names()), keys.from_clip, clip=True))
    shapes = {row.target: row.shape for row in table.of(USED)}
    written = {'model_type': 'llava', 'vocab_size': ROWS, **SIZES[size]}
    model = part_configs(shapes, written, CLIP_L, where='published')
    table.add_missing_and_reshaped(part_shapes(model, published=written, tokenizer=tmp_path / 'none'))
    assert [row for row in table.rows if row.status in FAULTS] == []
    ignored = {row.source for row in table.of(IGNORED)}
    assert ignored == {
        name
        for name in [*names, *dict(clip_names())]
        if name.endswith(('inv_freq', 'position_ids'))
        or name.split('.')[-1] in ('pixel_mean', 'pixel_std')
        or name.split('.')[0] in ('text_model', 'text_projection', 'visual_projection', 'logit_scale')
    }
    assert model['mask_decoder']['image_encoder'] == {
        'type': 'SAMImageEncoder',
        **VARIANTS['vit_h'],
        'image_size': 1024,
        'patch_size': 16,
        'window_size': 14,
        'out_channels': 256,
    }


@pytest.mark.parametrize('size', list(SIZES))
def test_the_names_go_back_in_the_published_order(size):
    """Ours -> published gives the same names, shapes and order (the release's normalisation buffers were never saved)."""
    names = {name: shape for name, shape in published_names(SIZES[size], 'linear').items() if 'pixel_' not in name}
    ours = {keys.from_language_model(name): shape for name, shape in names.items() if not name.endswith('inv_freq')}

    class Source:
        info = {name: TensorInfo(shape, torch.bfloat16) for name, shape in ours.items()}

    written = PublishedTensors(Source(), SIZES[size])
    assert {name: info.shape for name, info in written.info.items()} == names
    assert list(written.info) == list(names)


@pytest.mark.parametrize('variant', list(VARIANTS))
def test_widths_of_the_released_sam(variant):
    shapes = {name: shape for name, shape in sam_names(variant).items() if 'pixel_' not in name}
    widths = sam_widths(shapes)
    assert {key: widths['image_encoder'][key] for key in VARIANTS[variant]} == VARIANTS[variant]
    assert (widths['depth'], widths['num_heads'], widths['mlp_dim'], widths['iou_hidden_dim']) == (2, 8, 2048, 256)


def test_an_unknown_name_is_not_taken_for_a_known_one():
    assert keys.from_language_model('model.vision_resampler.weight') is None
    assert keys.from_language_model('model.mm_projector.weight_scale') is None
    assert keys.from_sam('mask_decoder_hq.weight') is None
    assert keys.reason_to_ignore('text_model.embeddings.token_embedding.weight') is None  # of a CLIP folder only
