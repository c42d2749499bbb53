"""What rows of an image share is computed once, and nothing is another number."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lisa_mm.models.lisa import LISA
from lisa_mm.models.shared_masks import TESTED, TESTED_WHOLE
from lisa_mm.models.shared_prefix import SharedRows, share_rows
from lisa_mm.tokens import IMAGE_TOKEN_ID

from .families import MAKERS, whole_model
from .language_families import LANGUAGE_FAMILIES, language_model
from .whole import LORA, batch, build, put_together, sample

MIXED = ['sliding_attention', 'full_attention']
# A language model's name, family, kind of attention, and what else its config has; a window of 8 is shorter than a row
CASES = {
    **{family: (family, None, {}) for family in LANGUAGE_FAMILIES},
    **{f'{family}, eager': (family, 'eager', {}) for family in LANGUAGE_FAMILIES if family != 'gemma2'},  # it is eager anyway
    'gemma3_text of two kinds': ('gemma3_text', None, dict(layer_types=MIXED)),
    'qwen2 of two kinds': ('qwen2', None, dict(use_sliding_window=True, sliding_window=8, layer_types=MIXED)),
    'qwen3 of windows': ('qwen3', None, dict(use_sliding_window=True, sliding_window=8, layer_types=MIXED[:1] * 2)),
    'smollm3 of two kinds': ('smollm3', None, dict(use_sliding_window=True, sliding_window=8, layer_types=MIXED)),
}
ADAPTED = dict(LORA, target_modules='all-linear')
NOT_TESTED_HERE = {'qwen2_vl_text', 'qwen2_5_vl_text', 'qwen3_vl_text'}  # with their whole models


def rows(*texts: str, image_index: list[int]):
    """Letters are tokens."""
    width = max(map(len, texts))
    ids = torch.tensor([[ord(c) for c in text.ljust(width, ' ')] for text in texts])
    return share_rows(ids, ids != ord(' '), torch.tensor(image_index)), ids


def seen_by(shared, ids, row: int, column: int) -> str:
    """The tokens that a token of a row sees, and their positions are 0, 1, 2, ..."""
    group, at = divmod(int(shared.place[row, column]), shared.row.shape[1])
    seen = shared.mask[group, 0, at]
    assert shared.position[group][seen].tolist() == list(range(column + 1))
    return ''.join(chr(ids[r, p]) for r, p in zip(shared.row[group][seen], shared.position[group][seen], strict=True))


@pytest.mark.parametrize(
    ('texts', 'image_index', 'shape'),
    [
        (['abcd', 'abxyz', 'ab'], [0, 0, 0], (1, 2 + 2 + 3 + 0)),
        (['abcd', 'abcd'], [0, 0], (1, 4)),  # the same question twice
        (['abcd', 'xbcd'], [0, 0], (1, 8)),  # nothing in common
        (['abc'], [0], (1, 3)),
        (['abcd', 'abce', 'abcd', 'abce'], [0, 1, 0, 1], (2, 4)),  # another image is another row, however alike
        (['abc', 'abd', 'abe'], [-1, 0, -1], (3, 3)),  # rows about no image stay alone
    ],
)
def test_every_token_sees_its_own_row_up_to_itself(texts, image_index, shape):
    shared, ids = rows(*texts, image_index=image_index)
    assert tuple(shared.row.shape) == shape
    for row, text in enumerate(texts):
        for column in range(len(text)):
            assert seen_by(shared, ids, row, column) == text[: column + 1]
    assert shared.mask.any(-1).all()  # an empty row of a softmax is no number


def sharing(part: dict) -> dict:
    """A whole model around a language model."""
    return {**put_together(), 'language_model': {'share_prefix': True, **part}}


def values_and_gradients(model, *items):
    """Losses, states without padding, mask logits, and gradients by name."""
    model.zero_grad()
    data = batch(model, *items)
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    with torch.no_grad():
        computed = model(**data, mode='tensor')
    return losses, computed['hidden_states'][data['inputs']['attention_mask']], computed['mask_logits'], gradients


def questions(model: LISA) -> list[dict]:
    """Three images: four questions, of which two are alike; one without a mask; one."""
    given = [sample(model, (48, 64), 'two'), sample(model, (70, 30), 'none', 1), sample(model, (50, 50), 'one', 2)]
    given[0]['inputs']['rows'] *= 2
    given[0]['data_sample'].gt_masks = given[0]['data_sample'].gt_masks.repeat(2, 1, 1)
    return given


def assert_same(plain: LISA, shared: LISA, *items: dict) -> None:
    """Two models of the same weights, one of which shares prefixes; there is no dropout."""
    shared.load_state_dict(plain.state_dict())
    losses, states, masks, gradients = values_and_gradients(plain.train(), *items)
    same, others, logits, found = values_and_gradients(shared.train(), *items)
    assert_close(same, losses, rtol=1e-5, atol=1e-7)
    assert_close(others, states, rtol=1e-5, atol=1e-5)
    assert_close(logits, masks, rtol=1e-4, atol=1e-5)
    assert found.keys() == gradients.keys()
    for name, gradient in gradients.items():
        assert_close(found[name], gradient, rtol=1e-5, atol=1e-5 * float(gradient.abs().max()) + 1e-9, msg=name)


@pytest.fixture
def joined(monkeypatch):
    """How many batches have asked for the mask of joined rows."""
    made = []
    monkeypatch.setattr(SharedRows, 'mask', property(lambda self, mask=SharedRows.mask.fget: made.append(1) or mask(self)))  # pyright: ignore[reportOptionalCall] - a property
    return made


@pytest.fixture
def always(monkeypatch):
    """Rows are joined even where that saves no token."""
    monkeypatch.setattr(SharedRows, 'is_shorter', True)


@pytest.mark.parametrize('case', CASES)
def test_language_models_give_the_same(case, joined, always):
    family, attention, more = CASES[case]
    part = {**language_model(family), 'attention': attention}
    part['config'] |= more
    plain, shared = (
        build({**put_together(), 'language_model': {**part, 'share_prefix': share}}, lora=ADAPTED) for share in (False, None)
    )
    assert not plain.mllm.share_prefix and shared.mllm.share_prefix
    assert_same(plain, shared, *questions(plain))
    assert len(joined) == 2


@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
@pytest.mark.parametrize('family', MAKERS)
def test_whole_models_give_the_same(family, attention, joined, always, tmp_path):
    part = {**whole_model(family, tmp_path), 'attention': attention, 'projector_frozen': False}
    if family == 'gemma3':
        part['config']['text_config'] |= dict(sliding_window=8, layer_types=MIXED)
    plain, shared = (build({**part, 'share_prefix': share}) for share in (False, None))
    assert not plain.mllm.share_prefix and shared.mllm.share_prefix
    assert_same(plain, shared, *questions(plain))
    assert len(joined) == 2


@pytest.mark.parametrize('family', ['llava', 'qwen3_vl', 'gemma3', 'idefics3'])
def test_an_image_behind_the_prefix_stands_in_every_row(family, joined, always, tmp_path):
    """Rows that differ before their image, and a row about the image that does not show it."""
    part = whole_model(family, tmp_path)
    plain, shared = (build({**part, 'share_prefix': share}) for share in (False, None))
    items = [sample(plain, (48, 64), 'two'), sample(plain, (70, 30), 'one', 1), sample(plain, (48, 64), 'two', 2)]
    ids, labels = items[0]['inputs']['rows'][1]
    items[0]['inputs']['rows'][1] = (ids.clone().index_fill_(0, torch.tensor(0), 7), labels)
    ids, labels = items[2]['inputs']['rows'][1]
    items[2]['inputs']['rows'][1] = (ids[ids != IMAGE_TOKEN_ID], labels[ids != IMAGE_TOKEN_ID])
    assert_same(plain, shared, *items)
    assert len(joined) == 2
    layout = shared.layout_of(batch(shared, *items)['inputs'])
    assert layout.shared is not None and layout.shared.shown == [0, 1, 2, 3]
    assert layout.rows_with_image == [0, 1, 2, 3]


def test_every_tested_family_is_tested_here():
    assert set(LANGUAGE_FAMILIES) | NOT_TESTED_HERE == TESTED
    assert set(MAKERS) == TESTED_WHOLE


def test_rows_that_get_no_shorter_stay_alone(joined):
    model = build(sharing(language_model('llama'))).train()
    model(**batch(model, sample(model, (48, 64), 'one'), sample(model, (70, 30), 'none', 1)), mode='loss')
    assert not joined  # one row an image
    model(**batch(model, sample(model, (48, 64), 'two')), mode='loss')
    assert joined


def test_shared_tokens_go_through_the_language_model_once():
    model = build(sharing(language_model('llama'))).train()
    shapes = []
    model.mllm.decoder.register_forward_pre_hook(
        lambda _, __, given: shapes.append(tuple(given['inputs_embeds'].shape[:2])), with_kwargs=True
    )
    data = batch(model, sample(model, (48, 64), 'two'))
    model(**data, mode='loss')
    counted = data['inputs']['attention_mask'].sum(1).tolist()
    image = model.mllm.num_image_tokens(0, 0)
    assert len(counted) == 2 and shapes[0][0] == 1
    assert shapes[0][1] <= sum(counted) - image  # at least the image


def test_without_labels_and_masks_every_trained_parameter_is_touched():
    model = build(sharing(language_model('llama'))).train()
    data = batch(model, sample(model, (70, 30), 'none'), sample(model, (48, 64), 'none', 1))
    data['inputs']['labels'].fill_(-100)
    del data['inputs']['layout']  # of the labels before
    losses = model(**data, mode='loss')
    assert all(value.item() == 0 for value in losses.values())
    sum(losses.values()).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters() if p.requires_grad)
