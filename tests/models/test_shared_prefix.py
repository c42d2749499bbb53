"""What rows of an image share is computed once, and nothing is another number."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from lisa_mm.errors import ConfigError
from lisa_mm.models.shared_prefix import share_rows

from .language_families import LANGUAGE_FAMILIES, language_model
from .whole import batch, build, put_together, sample

WINDOWED = ('mistral', 'phi3', 'gemma2', 'gemma3_text')


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


def losses_and_gradients(model, *items):
    model.zero_grad()
    losses = model(**batch(model, *items), mode='loss')
    sum(losses.values()).backward()
    return losses, {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


@pytest.mark.parametrize('attention', ['sdpa', 'eager'])
@pytest.mark.parametrize('family', [family for family in LANGUAGE_FAMILIES if family not in WINDOWED])
def test_losses_gradients_and_masks_are_the_same(family, attention):
    parts = {**language_model(family), 'attention': attention}
    plain, shared = (build(sharing({**parts, 'share_prefix': share})).train() for share in (False, True))
    shared.load_state_dict(plain.state_dict())
    given = [sample(plain, (48, 64), 'two'), sample(plain, (70, 30), 'none', 1), sample(plain, (50, 50), 'one', 2)]
    given[0]['inputs']['rows'] *= 2  # the same questions again
    given[0]['data_sample'].gt_masks = given[0]['data_sample'].gt_masks.repeat(2, 1, 1)
    (losses, gradients), (same, others) = losses_and_gradients(plain, *given), losses_and_gradients(shared, *given)
    assert_close(same, losses, rtol=1e-5, atol=1e-7)
    for name, gradient in gradients.items():
        assert_close(others[name], gradient, rtol=1e-3, atol=1e-5 * float(gradient.abs().max()) + 1e-9, msg=name)  # pyright: ignore[reportOptionalMemberAccess] - all have one
    masks = [model.eval()(**batch(model, *given), mode='predict') for model in (plain, shared)]
    for one, other in zip(*masks, strict=True):
        assert_close(one.mask_logits, other.mask_logits, rtol=1e-4, atol=1e-5)


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


@pytest.mark.parametrize('family', WINDOWED)
def test_windows_are_refused(family):
    with pytest.raises(ConfigError, match=rf'share_prefix=True does not go with a {family} of sliding_\w+: every layer'):
        build(sharing(language_model(family)))


def test_positions_that_are_not_rotary_are_refused():
    learned = dict(model_type='gpt2', n_embd=32, n_layer=1, n_head=2, vocab_size=1300)
    part = {**language_model('llama'), 'config': learned}
    with pytest.raises(ConfigError, match='gpt2 without rotary positions'):
        build(sharing(part), lora=None, tuning='full')
