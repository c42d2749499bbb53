"""All pairs: every language model and whole model with every mask decoder, tuned in every way, compiles by one edit a part."""

from __future__ import annotations

import copy
import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from transformers.utils import is_timm_available

from lisa_mm.config import compile_with_model, load_config
from lisa_mm.models import LISA
from lisa_mm.models.transformers_versions import BUILDS_EDGETAM

from .families import MASK_DECODERS, mask_decoder, whole_model
from .language_families import LANGUAGE_FAMILIES, language_model
from .whole import SAM

ROOT = Path(__file__).parents[2]
WHOLE_MODELS = ['llava', 'qwen2_5_vl', 'qwen3_vl', 'internvl', 'gemma3']
WORDS = [f'language_model=tiny_{family}' for family in LANGUAGE_FAMILIES] + [f'mllm=tiny_{family}' for family in WHOLE_MODELS]
# name -> (arguments, image size, resize, channels)
DECODERS: dict[str, tuple[dict[str, Any], int, str, int]] = {
    'segment_anything': (SAM, 64, 'longest_side', 16),
    'sam': (mask_decoder('sam'), 64, 'longest_side', 16),
    'sam_hq': (mask_decoder('sam_hq'), 64, 'longest_side', 16),
    'sam2': (mask_decoder('sam2'), 128, 'squash', 16),
    'sam3_tracker': (mask_decoder('sam3_tracker'), 64, 'squash', 16),
}


def wide_sam2() -> dict[str, Any]:
    """A SAM 2 of another width and size."""
    config = copy.deepcopy(MASK_DECODERS['sam2'])
    config['mask_decoder_config'] = dict(config['mask_decoder_config'], hidden_size=32)
    config['prompt_encoder_config'] = dict(config['prompt_encoder_config'], hidden_size=32, image_size=256)
    sizes = [[64, 64], [32, 32], [16, 16]]
    config['vision_config'] = dict(config['vision_config'], fpn_hidden_size=32, backbone_feature_sizes=sizes)
    config['vision_config']['backbone_config'] = dict(config['vision_config']['backbone_config'], image_size=[256, 256])
    return dict(type='HFMaskDecoder', config=config)


DECODERS['wide_sam2'] = (wide_sam2(), 256, 'squash', 32)
if is_timm_available() and BUILDS_EDGETAM:
    DECODERS['edgetam'] = (mask_decoder('edgetam'), 128, 'squash', 16)
# how the language model is tuned: the edit
TUNINGS: dict[str, dict[str, list[str]]] = {
    'lora': dict(swaps=['lora=tiny_all_linear']),
    'new_rows': dict(options=['model.lora=None', 'model.tuning=frozen', 'model.train_embeddings=new_rows']),
    'full': dict(options=['model.lora=None', 'model.tuning=full']),
}


@pytest.fixture(scope='module')
def leaf(tmp_path_factory):
    """The leaf config lisa_nano.py, with tiny parts of random weights beside the others."""
    root = tmp_path_factory.mktemp('pairs')
    shutil.copytree(ROOT / 'configs', root / 'configs')
    base = root / 'configs' / '_base_'
    (base / 'lora' / 'tiny_all_linear.py').write_text("lora = dict(r=2, lora_alpha=4, target_modules='all-linear')\n")
    for family in LANGUAGE_FAMILIES:
        (base / 'language_models' / f'tiny_{family}.py').write_text(f'language_model = {language_model(family)!r}\n')
    for family in WHOLE_MODELS:
        (base / 'mllms' / f'tiny_{family}.py').write_text(f'mllm = {whole_model(family, root / family)!r}\n')
    for name, (part, *_) in DECODERS.items():
        (base / 'mask_decoders' / f'tiny_{name}.py').write_text(f'mask_decoder = {part!r}\n')
    return root / 'configs' / 'lisa' / 'lisa_nano.py'


def check(leaf: Path, words: str, decoder: str, tuning: str) -> None:
    """Compile, and look at what follows from the parts."""
    edits = TUNINGS[tuning]
    swaps = [words, f'mask_decoder=tiny_{decoder}', *edits.get('swaps', [])]
    compiled, model = compile_with_model(load_config(leaf, swaps=swaps, options=edits.get('options', [])))
    assert all(parameter.is_meta for parameter in model.parameters())

    # Widths, image sizes and ids
    _, size, resize, channels = DECODERS[decoder]
    layers = [layer for layer in model.seg_head.projection if isinstance(layer, nn.Linear)]
    assert (layers[0].in_features, layers[-1].out_features) == (32, channels)
    pipeline = {step.type: step for step in compiled.train_dataloader.dataset.pipeline}
    mask = pipeline['ResizeForMaskDecoder'].mask_preprocess
    assert (mask.image_size, mask.resize) == (size, resize)
    tokens = pipeline['EncodeConversations'].get('num_image_tokens')
    assert (tokens is None) == ('processor' in pipeline['ResizeForVisionTower'].vision_preprocess) == words.startswith('mllm')
    seg, rows = model.seg_token_id, model.mllm.input_embeddings().weight.shape[0]
    assert 1200 <= seg < rows  # after the 1,200 tokens of the nano tokenizer

    # What trains
    trained = trained_by_part(model)
    assert trained['seg_head']
    assert trained['mask_decoder']
    assert not any(
        part in name for name in trained['mask_decoder'] for part in ('vision_encoder', 'image_encoder', 'prompt_encoder')
    )
    if tuning == 'full':
        assert not trained['lora']
        assert len(trained['layers']) == sum('embed_tokens' not in name for name, _ in model.mllm.decoder.named_parameters())
    else:
        assert bool(trained['lora']) is (tuning == 'lora')
        assert not trained['layers']
    assert bool(trained['embeddings']) is (tuning != 'new_rows')
    assert bool(trained['new_rows']) is (tuning == 'new_rows')


def trained_by_part(model: LISA) -> dict[str, list[str]]:
    """Names of trained parameters."""
    mllm = model.mllm
    ends = {id(p) for part in (mllm.input_embeddings(), mllm.output_embeddings()) for p in part.parameters()}
    inside = {id(p) for p in mllm.decoder.parameters()}
    kinds = ('seg_head', 'mask_decoder', 'lora', 'new_rows', 'embeddings', 'layers', 'projector')
    found: dict[str, list[str]] = {kind: [] for kind in kinds}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            if name.startswith(('seg_head', 'mask_decoder')):
                key = name.split('.')[0]
            elif 'lora_' in name:
                key = 'lora'
            elif 'new_rows' in name:
                key = 'new_rows'
            elif id(parameter) in ends:
                key = 'embeddings'
            else:
                key = 'layers' if id(parameter) in inside else 'projector'
            found[key].append(name)
    return found


@pytest.mark.slow
@pytest.mark.parametrize('words', WORDS)
def test_with_every_mask_decoder_in_every_tuning(words, leaf):
    faults = []
    for decoder, tuning in itertools.product(DECODERS, TUNINGS):
        try:
            check(leaf, words, decoder, tuning)
        except Exception as error:
            faults.append(f'{decoder}, {tuning}: {type(error).__name__}: {error}')
    assert not faults, '\n' + '\n'.join(faults)
