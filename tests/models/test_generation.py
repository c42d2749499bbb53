"""Several rows answered at once: each as if it were alone."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from lisa_mm.models.generation import _ends, padded_left

from .families import MAKERS, whole_model
from .language_families import LANGUAGE_FAMILIES, language_model
from .whole import batch, build, put_together, sample

NEW = 5
TALKS = ['two', 'one', 'none', 'text']  # 2 + 1 + 1 + 1 rows of unequal lengths, the last about no image tokens


def prompts(model, *talks):
    """Prompts of several images: the rows of a batch without labels, which the answers then follow."""
    data = batch(model, *(sample(model, [(48, 64), (70, 30)][number % 2], talk, number) for number, talk in enumerate(talks)))
    return {name: value for name, value in data['inputs'].items() if name not in ('labels', 'layout')}, data['data_samples']


def alone(inputs, row):
    """One row of a batch with its image."""
    length, image = int(inputs['attention_mask'][row].sum()), int(inputs['image_index'][row])
    own = {name: value[row : row + 1, :length] for name, value in inputs.items() if name in ('input_ids', 'attention_mask')}
    images = {name: inputs[name][image : image + 1] for name in ('pixel_values', 'mask_images', 'image_inputs') if name in inputs}
    return {**own, **images, 'image_index': torch.zeros(1, dtype=torch.long)}


def check(model, **options):
    """Rows together give the ids, states and masks that they give alone."""
    options = {'max_new_tokens': NEW, 'eos_token_id': None, 'pad_token_id': 3, **options}
    for talks in (TALKS[:1], TALKS):  # 2 and 5 rows
        inputs, samples = prompts(model, *talks)
        together = model(inputs, samples, mode='generate', **options)
        rows = [output for answered in together for output in answered.generated]
        assert len(rows) == len(inputs['input_ids'])
        masks = {number: [] for number in range(len(samples))}
        for row, output in enumerate(rows):
            image = int(inputs['image_index'][row])
            single, logits = model.answer(alone(inputs, row), samples[image], **options)
            assert output.ids.tolist() == single.ids.tolist()
            assert_close(output.hidden_states, single.hidden_states, atol=2e-5, rtol=1e-4)
            masks[image].append(logits)
        for image, answered in enumerate(model(inputs, samples, mode='generate', **options)):
            assert_close(answered.mask_logits, torch.cat(masks[image]), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_rows_of_a_language_model(family):
    check(build({**put_together(), 'language_model': language_model(family)}, lora=None).eval())


@pytest.mark.parametrize('family', MAKERS)
def test_rows_of_a_whole_model(family, tmp_path):
    check(build(whole_model(family, tmp_path)).eval())


def test_each_row_ends_by_itself():
    """The end of one row is a token that it says early; the others go on."""
    model = build(put_together()).eval()
    inputs, samples = prompts(model, *TALKS)
    free = model.generate(inputs, samples, max_new_tokens=NEW, eos_token_id=None, pad_token_id=3)
    lengths = inputs['attention_mask'].sum(1).tolist()
    answers = [out.ids[length:].tolist() for out, length in zip((o for s in free for o in s.generated), lengths, strict=True)]
    stop = answers[0][1]
    ended = model.generate(inputs, samples, max_new_tokens=NEW, eos_token_id=stop, pad_token_id=3)
    found = [out.ids[length:].tolist() for out, length in zip((o for s in ended for o in s.generated), lengths, strict=True)]
    assert found == [answer[: answer.index(stop) + 1] if stop in answer else answer for answer in answers]
    assert len({len(answer) for answer in found}) > 1
    check(model, eos_token_id=[stop, 7])


def test_rows_are_sampled_by_the_seed():
    model = build(put_together()).eval()
    inputs, samples = prompts(model, *TALKS)

    def sampled(seed):
        torch.manual_seed(seed)
        answered = model.generate(inputs, samples, max_new_tokens=3, do_sample=True, eos_token_id=None, pad_token_id=3)
        return [out.ids.tolist() for answers in answered for out in answers.generated]

    assert sampled(1) == sampled(1) != sampled(2)


def test_padding_goes_to_the_left():
    values = torch.tensor([[1, 2, 3], [4, 0, 0], [5, 6, 0]])
    assert padded_left(values, [3, 1, 2]).tolist() == [[1, 2, 3], [0, 0, 4], [0, 5, 6]]
    whole = torch.ones(2, 3)
    assert padded_left(whole, [3, 3]) is whole


def test_where_a_row_ends():
    model = SimpleNamespace(generation_config=SimpleNamespace(eos_token_id=2, pad_token_id=0))
    new = torch.tensor([[5, 2, 0, 0], [5, 6, 7, 8], [5, 6, 0, 0]])
    assert _ends(model, new, {}) == [2, 4, 2]  # its end, its last place, and without an end its padding
    assert _ends(model, new, {'eos_token_id': [6, 7]}) == [2, 2, 2]
    assert _ends(model, new[2:], {}) == [4]  # alone it is never padded
    assert _ends(model, new, {'eos_token_id': None, 'pad_token_id': 9}) == [4, 4, 4]
