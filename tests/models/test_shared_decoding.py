"""Questions about one image, answered behind one prefix: as transformers answers them row by row."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence
from torch.testing import assert_close
from transformers import GenerationConfig

from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.models.decoding import RowLimits
from lisa_mm.models.shared_decoding import is_plain

from ..parity.answers import answer_case, read_evaluation
from ..parity.golden import Golden, build_model
from .language_families import LANGUAGE_FAMILIES, language_model
from .test_generation import TALKS, prompts
from .whole import build, put_together

OPTIONS = {'max_new_tokens': 6, 'eos_token_id': None, 'pad_token_id': 3}
GOLDEN = Path(os.environ.get('LISA_MM_GOLDEN', Path(__file__).parents[1] / 'golden'))
SHARING = {'llama', 'qwen2', 'qwen3', 'smollm3', 'olmo2'}


def rows(samples):
    return [output for sample in samples for output in sample.generated]


def compare(found, wanted):
    for one, other in zip(rows(found), rows(wanted), strict=True):
        assert one.ids.tolist() == other.ids.tolist()
        assert_close(one.hidden_states, other.hidden_states, atol=2e-5, rtol=1e-4)
    for one, other in zip(found, wanted, strict=True):
        assert_close(one.mask_logits, other.mask_logits, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize('family', LANGUAGE_FAMILIES)
def test_families(family):
    model: Any = build({**put_together(), 'language_model': language_model(family)}, lora=None)
    model.eval()
    inputs, samples = prompts(model, *TALKS)
    assert model.mllm.language_model.shares_answers(OPTIONS) is (family in SHARING)
    wanted = model.generate(inputs, [sample.clone() for sample in samples], **OPTIONS, do_sample=False)  # by transformers
    compare(model.generate(inputs, [sample.clone() for sample in samples], **OPTIONS), wanted)


def test_golden_cases_of_an_image_share_its_prefix():
    """All golden cases in one batch, those about one image as rows of it."""
    golden = Golden(GOLDEN, json.loads((GOLDEN / 'train_forward.json').read_text()))
    table, _ = read_evaluation(golden)
    model = build_model(golden, merged=True).eval()
    tokenizer = build_tokenizer(**model.mllm.tokenizer_spec)
    cases = sorted(table['cases'], key=lambda case: case['image'])
    done = [answer_case(golden, case, model, tokenizer) for case in cases]
    images = sorted({case['image'] for case in cases})
    first = [next(number for number, case in enumerate(cases) if case['image'] == image) for image in images]
    ids = [one['inputs']['input_ids'][0] for one in done]
    inputs = {
        'input_ids': pad_sequence(ids, batch_first=True),
        'attention_mask': pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in ids], batch_first=True),
        'image_index': torch.tensor([images.index(case['image']) for case in cases]),
        **{name: torch.cat([done[number]['inputs'][name] for number in first]) for name in ('pixel_values', 'mask_images')},
    }
    most = max(case['max_new_tokens'] for case in cases)
    samples = model.generate(inputs, [done[number]['sample'].clone() for number in first], max_new_tokens=most)
    for case, one, together in zip(cases, done, rows(samples), strict=True):
        single = one['output']
        assert together.ids[: len(single.ids)].tolist() == single.ids.tolist(), case['name']
        assert_close(together.hidden_states[: len(single.hidden_states)], single.hidden_states, atol=1e-4, rtol=1e-4)


def test_the_prefix_of_an_image_is_computed_once():
    model: Any = build(put_together())
    model.eval()
    inputs, samples = prompts(model, 'two', 'one')  # three rows about two images
    lengths = []
    layer = model.mllm.language_model.model.get_decoder().layers[0]
    hook = layer.register_forward_pre_hook(lambda _, args: lengths.append(tuple(args[0].shape[:2])))
    model.generate(inputs, samples, **OPTIONS)
    hook.remove()
    shared = model.layout_of(inputs).shared
    assert shared is not None
    assert lengths == [tuple(shared.row.shape), *[(2, 2)] * (OPTIONS['max_new_tokens'] - 1)]
    assert shared.row.shape[1] < int(inputs['attention_mask'][:2].sum())  # both rows of the first image, one after the other


def test_equal_questions_and_one_that_begins_another():
    """What is left of a row behind the common prefix may be nothing."""
    model: Any = build(put_together())
    model.eval()
    inputs, samples = prompts(model, 'one')
    row = inputs['input_ids'][0]
    ids = [row, row, row[:-2]]
    several = {
        **inputs,
        'input_ids': pad_sequence(ids, batch_first=True),
        'attention_mask': pad_sequence([torch.ones_like(one, dtype=torch.bool) for one in ids], batch_first=True),
        'image_index': torch.zeros(3, dtype=torch.long),
    }
    found = rows(model.generate(several, samples, **OPTIONS))
    for one, output in zip(ids, found, strict=True):
        alone = {**inputs, 'input_ids': one[None], 'attention_mask': torch.ones_like(one, dtype=torch.bool)[None]}
        wanted = rows(model.generate(alone, [samples[0].clone()], **OPTIONS))[0]
        assert output.ids.tolist() == wanted.ids.tolist()
        assert_close(output.hidden_states, wanted.hidden_states, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize('more', [{}, {'do_sample': False}])
def test_a_watcher_sees_each_token_with_its_state(more):
    """In both loops: a token of a row comes with the state before it."""
    model: Any = build(put_together())
    model.eval()
    inputs, samples = prompts(model, *TALKS)
    seen = []
    watch = {'watch': lambda tokens, states: seen.append((tokens.clone(), states.clone()))}
    answered = rows(model.generate(inputs, samples, **OPTIONS, **more, **watch))
    assert len(seen) == OPTIONS['max_new_tokens']
    for row, output in enumerate(answered):
        length = int(inputs['attention_mask'][row].sum())
        assert [int(tokens[row]) for tokens, _ in seen] == output.ids[length:].tolist()
        assert_close(torch.stack([states[row] for _, states in seen]), output.hidden_states[length - 1 :])


@pytest.mark.parametrize('more', [{}, {'do_sample': False}])
def test_rows_that_end_at_their_own_limit(more):
    model: Any = build(put_together())
    model.eval()
    inputs, samples = prompts(model, *TALKS)
    limits = [1, 3, 2, 6, 4]
    found = rows(model.generate(inputs, samples, **OPTIONS, **more, stopping_criteria=[RowLimits(limits)]))
    free = rows(model.generate(inputs, samples, **OPTIONS, **more))
    for row, (output, whole, limit) in enumerate(zip(found, free, limits, strict=True)):
        length = int(inputs['attention_mask'][row].sum()) + limit
        assert output.ids[:length].tolist() == whole.ids[:length].tolist()
        assert more or len(output.ids) == length
        assert len(output.hidden_states) == len(output.ids) - 1


def test_other_settings_are_left_to_transformers():
    assert is_plain(['max_new_tokens', 'watch'], GenerationConfig(eos_token_id=2, temperature=0.6, top_p=0.9, do_sample=True))
    assert not is_plain(['repetition_penalty'], None)
    assert not is_plain([], GenerationConfig(repetition_penalty=1.05))
    assert not is_plain([], GenerationConfig(suppress_tokens=[5]))
    model: Any = build(put_together())
    language = model.mllm.language_model
    assert language.shares_answers(OPTIONS)
    language.model.generation_config.repetition_penalty = 1.05
    assert not language.shares_answers(OPTIONS)
