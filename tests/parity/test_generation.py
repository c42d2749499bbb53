"""Generated answers with their masks, and whole validation sets, against the original's chat and validation programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from lisa_mm.datasets.conversation import encode, render
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.evaluation.seg_iou import SegIoUMetric, intersection_and_union, summarise
from lisa_mm.tokens import SEG_TOKEN

from .answers import NEAR, answer_case, collapsed, image_of, overlapping, read_evaluation, step_logits, validate
from .golden import build_model


@pytest.fixture(scope='module')
def evaluation(golden):
    return read_evaluation(golden)


@pytest.fixture(scope='module')
def table(evaluation):
    return evaluation[0]


@pytest.fixture(scope='module')
def arrays(evaluation):
    return evaluation[1]


@pytest.fixture(scope='module')
def merged(golden):
    return build_model(golden, merged=True).eval()


@pytest.fixture(scope='module')
def tokenizer(merged):
    return build_tokenizer(**merged.mllm.tokenizer_spec)


@pytest.fixture(scope='module')
def answered(golden, table, merged, tokenizer):
    """case -> what goes in, what comes out, and how often the parts ran; each case is generated once."""
    cases = {case['name']: case for case in table['cases']}
    done = {}

    def run(name):
        if name not in done:
            done[name] = answer_case(golden, cases[name], merged, tokenizer)
        return done[name]

    return run


def test_inputs_are_the_chat_programs(table, arrays, answered, case_name, record_deviation):
    got = answered(case_name)
    image = next(case['image'] for case in table['cases'] if case['name'] == case_name)
    assert collapsed(got['inputs']['input_ids'][0]) == arrays[f'{case_name}:input_ids'][0].tolist()
    for ours, theirs in (('mask_images', 'images'), ('pixel_values', 'images_clip')):
        deviation = float((got['inputs'][ours] - torch.from_numpy(arrays[f'{theirs}:{image}'])).abs().max())
        record_deviation('normalised images', deviation)
        assert deviation < 1e-5, ours


def test_ids(table, arrays, answered, tokenizer, case_name):
    got = answered(case_name)
    wanted = arrays[f'{case_name}:output_ids'][0].tolist()
    assert collapsed(got['output'].ids) == wanted
    case = next(case for case in table['cases'] if case['name'] == case_name)
    new = got['output'].ids[got['inputs']['input_ids'].shape[1] :]
    assert tokenizer.decode(new).replace(' ', '') == case['generated'].replace(' ', '')


@pytest.mark.parametrize('rows', [1, 2, 5, None])
def test_ids_of_several_rows_at_once(table, arrays, answered, merged, rows):
    """Other than the original, which answers one row at a time: the cases as rows of one batch, padded to the longest."""
    cases = table['cases'][:rows]
    done = [answered(case['name']) for case in cases]
    ids = [one['inputs']['input_ids'][0] for one in done]
    inputs = {
        'input_ids': pad_sequence(ids, batch_first=True),
        'attention_mask': pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in ids], batch_first=True),
        'image_index': torch.arange(len(cases)),
        **{name: torch.cat([one['inputs'][name] for one in done]) for name in ('pixel_values', 'mask_images')},
    }
    most = max(case['max_new_tokens'] for case in cases)
    got = merged(inputs, [one['sample'].clone() for one in done], mode='generate', max_new_tokens=most)
    for case, sample, one in zip(cases, got, done, strict=True):
        wanted = arrays[f'{case["name"]}:output_ids'][0].tolist()
        found = collapsed(sample.generated[0].ids)
        assert found[: len(wanted)] == wanted
        if len(found) == len(wanted):
            assert float((sample.mask_logits - one['mask_logits']).abs().max() if len(sample.mask_logits) else 0) < NEAR
        else:  # this case was cut by its own max_new_tokens
            assert len(wanted) - len(arrays[f'{case["name"]}:input_ids'][0]) == case['max_new_tokens']


def test_every_token_runs_once_and_the_image_is_encoded_once(arrays, answered, case_name):
    """Other than the original: the prompt, then one position a step."""
    got = answered(case_name)
    new = arrays[f'{case_name}:output_ids'].shape[1] - arrays[f'{case_name}:input_ids'].shape[1]
    assert len(got['towers']) == 1
    assert got['lengths'] == [got['inputs']['input_ids'].shape[1]] + [1] * (new - 1)


def test_step_logits(arrays, answered, merged, case_name, record_deviation):
    """The logits that chose each new token."""
    got = answered(case_name)
    for name, ours in step_logits(got, merged).items():
        wanted = arrays[f'{case_name}:{name}']
        assert ours.shape == wanted.shape
        deviation = float(np.abs(ours - wanted).max())
        record_deviation('generation: margins, logsumexp', deviation)
        assert deviation < 1e-4, name


def test_masks(table, arrays, answered, merged, case_name, record_deviation):
    """One a [SEG], also of an earlier turn; none without."""
    got = answered(case_name)
    wanted = arrays[f'{case_name}:pred_masks']
    logits = got['mask_logits'].numpy()
    case = next(case for case in table['cases'] if case['name'] == case_name)
    assert len(logits) == case['num_masks'] == int((got['output'].ids == merged.seg_token_id).sum())
    assert logits.shape[1:] == got['sample'].original_size == tuple(case['original_size_list'][0])
    if not case['num_masks']:
        return
    assert logits.shape == wanted.shape
    deviation = float(np.abs(logits - wanted).max())
    record_deviation('generation: mask logits', deviation)
    assert deviation < NEAR
    certain = np.abs(wanted) > NEAR
    assert ((logits > 0) == (wanted > 0))[certain].all()


def test_generation_equals_one_forward(answered, merged, case_name):
    """A law: cached states are the states of the whole row in one pass."""
    got = answered(case_name)
    ids = got['output'].ids[None]
    inputs = {**got['inputs'], 'input_ids': ids, 'attention_mask': torch.ones_like(ids, dtype=torch.bool)}
    with torch.no_grad():
        states = merged.mllm(inputs, torch.zeros_like(ids, dtype=torch.bool)).hidden_states[0]
    assert torch.allclose(states[:-1], got['output'].hidden_states, atol=1e-4)


def test_the_cases_hold_what_they_are_for(table, arrays, tokenizer):
    """An earlier turn with [SEG], several [SEG] in an answer, and none: a folder without them would test little."""
    seg = tokenizer.convert_tokens_to_ids(SEG_TOKEN)
    in_prompt = {case['name']: int((arrays[f'{case["name"]}:input_ids'] == seg).sum()) for case in table['cases']}
    masks = {case['name']: case['num_masks'] for case in table['cases']}
    assert any(in_prompt.values())
    assert any(masks[name] - count > 1 for name, count in in_prompt.items())
    assert 0 in masks.values()


def test_an_image_after_seg_and_a_row_without_image(merged, tokenizer):
    """Other than the original: positions follow from the ids, wherever the image stands; a law of causal models tells which."""
    n = merged.mllm.num_image_tokens(0, 0)
    conversations = [
        [('A cup.', 'It is [SEG].'), ('<image>\nAnd this?', 'Sure, [SEG].')],
        [('A cup.', 'It is [SEG].')],
    ]
    rows = [encode(render(turns, 'llava_v1'), tokenizer, num_image_tokens=n, wrap_image=True)[0] for turns in conversations]
    size = merged.mllm.preprocess['crop_size']['height']
    prompts = []
    for seed in (0, 1):
        pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(seed))
        for ids in rows:
            inputs = {
                'pixel_values': pixels,
                'input_ids': ids[None],
                'attention_mask': torch.ones_like(ids, dtype=torch.bool)[None],
                'image_index': torch.zeros(1, dtype=torch.long),
            }
            with torch.no_grad():
                states = merged.mllm(inputs, torch.zeros_like(ids, dtype=torch.bool)[None]).hidden_states
                prompts.append(merged.seg_head(states, ids[None], merged.seg_token_id)[0])
    first, alone, other, _ = prompts
    assert (len(first), len(alone)) == (2, 1)
    assert torch.allclose(first[0], other[0], atol=1e-5)  # before the image: another image changes nothing
    assert torch.allclose(first[0], alone[0], atol=1e-5)  # nor does none
    assert not torch.allclose(first[1], other[1], atol=1e-3)  # behind it: it does


# --- whole validation sets -------------------------------------------------------------------------------------------------


def test_validation_set(golden, table, arrays, merged, set_name, record_deviation):
    """Every mask, intersection and union, and the two metrics of the set."""
    wanted = table['validation'][set_name]
    samples = validate(golden, merged, set_name)
    by_image = {entry['image']: entry for entry in wanted['per_image']}
    clipped = overlapping(golden, set_name)
    assert len(samples) == len(by_image)
    metric, doubtful, pairs = SegIoUMetric(), 0, []
    metric.process(None, samples)
    for sample, ours in zip(samples, metric.results, strict=True):
        image = image_of(golden, sample)
        masks = torch.from_numpy(arrays[f'val:{set_name}:{image}'])
        differing = (sample.mask_logits > 0) != masks
        assert differing.sum() <= by_image[image]['near_zero_pixels'], image
        assert (sample.mask_logits.abs()[differing] < NEAR).all(), image
        doubtful += int(differing.sum())
        theirs = intersection_and_union(masks, sample.gt_masks)
        pairs += theirs
        assert np.abs(np.subtract(ours, theirs)).max() <= differing.sum(), image
        if image not in clipped:
            assert sum(i for i, _ in theirs) == by_image[image]['intersection_bg_fg'][1], image
            assert sum(u for _, u in theirs) == by_image[image]['union_bg_fg'][1], image
    scores = summarise(pairs)
    if not clipped:
        assert scores['gIoU'] == pytest.approx(wanted['giou'], abs=1e-6)
        assert scores['cIoU'] == pytest.approx(wanted['ciou'], abs=1e-6)
    record_deviation('validation: differing pixels', float(doubtful))
    if not doubtful:
        assert metric.evaluate(size=len(samples)) == {**scores, 'num_masks': float(len(pairs))}
