"""Which models share a prefix, why others cannot, and masks of windows, images and blocks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.testing import assert_close
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from lisa_mm.errors import ConfigError
from lisa_mm.models.language_models import CausalLM
from lisa_mm.models.phases import shapes_only
from lisa_mm.models.shared_masks import image_runs, model_masks, shares_prefix, with_images
from lisa_mm.models.shared_prefix import share_rows

from .families import CLIP, TEXT, whole_model
from .language_families import language_model
from .whole import batch, build, put_together, sample

TINY = dict(
    vocab_size=50, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2
)


def tiny(family: str, **more: Any) -> Any:
    with shapes_only():
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**TINY, **more}))


@pytest.mark.parametrize(
    ('family', 'more', 'reason'),
    [
        ('gpt2', dict(n_embd=32, n_layer=1, n_head=2), 'without rotary positions'),
        ('rwkv', dict(), 'of states from token to token: a row would see the rows before it'),
        ('mamba', dict(state_size=4), 'of linear_attention: a row would see'),
        ('qwen3_next', dict(num_experts=2, head_dim=8), 'of linear_attention: a row would see'),
        ('starcoder2', dict(sliding_window=8), 'of sliding_attention: windows are tested in gemma2, gemma3_text'),
        ('gemma3_text', dict(head_dim=8, use_bidirectional_attention=True), 'of bidirectional attention'),
    ],
)
def test_models_that_cannot(family, more, reason):
    model = tiny(family, **more)
    assert not shares_prefix(None, model, 'share_prefix') and not shares_prefix(False, model, 'share_prefix')
    with pytest.raises(ConfigError, match=rf'^model.x.share_prefix=True does not go with a {family} {reason}.*or leave it out'):
        shares_prefix(True, model, 'model.x.share_prefix')


def test_a_family_that_no_test_covers_must_be_asked_for():
    model = tiny('granite')
    assert not shares_prefix(None, model, 'share_prefix')
    assert shares_prefix(True, model, 'share_prefix')
    assert shares_prefix(None, tiny('llama'), 'share_prefix')


def test_whole_models_that_no_test_covers_are_refused():
    text = {**TINY, 'model_type': 'llama'}
    with shapes_only():
        config = AutoConfig.for_model('vipllava', text_config=text, vision_config=CLIP, vision_feature_layers=[-1])
        model = AutoModelForImageTextToText.from_config(config)
    assert not shares_prefix(None, model, 'share_prefix')
    with pytest.raises(ConfigError, match='with a vipllava as a whole model: only gemma3, idefics3,'):
        shares_prefix(True, model, 'share_prefix')


def test_attention_that_takes_no_mask():
    model = tiny('llama')
    model.config._attn_implementation = 'flash_attention_2'  # the package is not needed to say no
    assert not shares_prefix(None, model, 'share_prefix')
    with pytest.raises(ConfigError, match=r"under attention='flash_attention_2', which takes no mask of ours. Take 'sdpa', or"):
        shares_prefix(True, model, 'share_prefix')


def test_the_config_key_is_named(tmp_path):
    learned = dict(model_type='gpt2', n_embd=32, n_layer=1, n_head=2, vocab_size=1300)
    part = {**language_model('llama'), 'config': learned, 'share_prefix': True}
    with pytest.raises(ConfigError, match=r'model\.mllm\.language_model\.share_prefix=True does not go with a gpt2'):
        build({**put_together(), 'language_model': part}, lora=None, tuning='full')
    part = {**whole_model('llava', tmp_path), 'attention': 'flex_attention', 'share_prefix': True}
    with pytest.raises(ConfigError, match=r"model\.mllm\.share_prefix=True does not go with a llava under attention='flex"):
        build(part)


def joined(*rows: str, window: int | None = None, kinds: list[str] | None = None, attention: str = 'sdpa'):
    """Letters are tokens; the masks of one image's rows, and the tokens of the sequence."""
    width = max(map(len, rows))
    ids = torch.tensor([[ord(c) for c in row.ljust(width)] for row in rows])
    shared = share_rows(ids, ids != ord(' '), torch.zeros(len(rows), dtype=torch.long))
    config: Any = SimpleNamespace(sliding_window=window, layer_types=kinds, _attn_implementation=attention)
    return model_masks(config, shared.mask, shared.position, torch.float32), shared, ids[shared.row, shared.position][0]


def seen(mask: torch.Tensor, shared: Any, ids: torch.Tensor, row: int, column: int) -> str:
    at = int(shared.place[row, column])
    return ''.join(map(chr, ids[mask[0, 0, at] == 0]))


def test_windows_count_positions_of_the_row():
    mask, shared, ids = joined('abcde', 'abxyz', window=3)
    assert seen(mask, shared, ids, 1, 2) == 'abx'
    assert seen(mask, shared, ids, 1, 3) == 'bxy'
    assert seen(mask, shared, ids, 0, 4) == 'cde'


def test_a_model_of_two_kinds_of_layers_gets_two_masks():
    masks, shared, ids = joined('abcde', 'abxyz', window=2, kinds=['sliding_attention', 'full_attention'])
    assert set(masks) == {'sliding_attention', 'full_attention'}
    assert seen(masks['full_attention'], shared, ids, 1, 4) == 'abxyz'
    assert seen(masks['sliding_attention'], shared, ids, 1, 4) == 'yz'
    mask, shared, ids = joined('abcde', 'abxyz', window=2, kinds=['full_attention'] * 2)  # a window that no layer has
    assert seen(mask, shared, ids, 1, 4) == 'abxyz'


def test_no_row_of_a_mask_is_wholly_hidden():
    mask, _, _ = joined('abcdefg', 'a', '', window=1)
    assert (mask == 0).any(-1).all()


def test_an_image_sees_itself_in_its_own_row_only():
    places = torch.tensor([[0, 1, 1, 0, 1, 1], [1, 1, 0, 0, 1, 0]], dtype=torch.bool)
    runs = image_runs(places)
    assert runs.tolist() == [[-1, 1, 1, -1, 2, 2], [1, 1, -1, -1, 2, -1]]
    assert image_runs(places[:, :0]).shape == (2, 0)
    segment = torch.tensor([[0, 1, 1, 1, 2, 2], [0, 0, 0, 1, 1, -1]])
    nothing = torch.zeros(2, 1, 6, 6, dtype=torch.bool)
    found = with_images(nothing, torch.tensor([[1, 1, 1, -1, 1, 1], [1, 1, -1, -1, 2, -1]]), segment)[:, 0]
    assert found[0].nonzero().tolist() == [[0, 0], [1, 1], [1, 2], [2, 1], [2, 2], [4, 4], [4, 5], [5, 4], [5, 5]]
    assert found[1].nonzero().tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [4, 4]]


@pytest.mark.parametrize('kinds', [None, ['sliding_attention', 'full_attention']])
def test_blocks_hold_the_same_mask(kinds):
    settings: dict[str, Any] = dict(window=2 if kinds else None, kinds=kinds)
    wanted, found = (joined('abcde', 'abxyz', 'abx', attention=name, **settings)[0] for name in ('sdpa', 'flex_attention'))
    pairs = [(wanted, found)] if kinds is None else [(wanted[kind], found[kind]) for kind in kinds]
    for dense, blocks in pairs:
        queries = torch.arange(dense.shape[-1])
        zero = torch.tensor(0)
        assert torch.equal(blocks.mask_mod(zero, zero, queries[:, None], queries[None]), dense[0, 0] == 0)


@pytest.mark.slow  # torch compiles the kernel
@pytest.mark.parametrize('family', ['llama', 'gemma3_text'])
def test_flex_attention_gives_the_same_states(family):
    """Forward alone: torch has no backward of it on a CPU. It has not run on a GPU."""
    part = language_model(family)
    if family == 'gemma3_text':
        part['config'] |= dict(layer_types=['sliding_attention', 'full_attention'])
    flex = build({**put_together(), 'language_model': {**part, 'attention': 'flex_attention'}}).eval()
    plain = build({**put_together(), 'language_model': {**part, 'share_prefix': False}}).eval()
    assert flex.mllm.share_prefix
    plain.load_state_dict(flex.state_dict())
    data = batch(flex, sample(flex, (48, 64), 'two'), sample(flex, (70, 30), 'one', 1))
    with torch.no_grad():
        found, wanted = (model(**data, mode='tensor') for model in (flex, plain))
    tokens = data['inputs']['attention_mask']
    assert_close(found['hidden_states'][tokens], wanted['hidden_states'][tokens], rtol=1e-5, atol=1e-5)
    assert_close(found['word_logits'], wanted['word_logits'], rtol=1e-5, atol=1e-5)


def test_flex_attention_cannot_train_on_a_cpu():
    part = language_model('llama')
    part.pop('type')
    model = CausalLM(**{**part, 'config': {**part['config'], **TEXT}, 'attention': 'flex_attention'})
    assert not model.shares_answers([])  # its cache would need a new block mask for each token
    with pytest.raises(ConfigError, match=r"'flex_attention' cannot train on a CPU.*Take 'sdpa', or a GPU"):
        model(torch.zeros(1, 3, 32), torch.ones(1, 3, dtype=torch.bool), torch.tensor([0]))
