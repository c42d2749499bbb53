"""Answer tokens are lists: several kinds that become masks, and others."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

import lisa_mm
from lisa_mm.config import compile_config, load_config
from lisa_mm.datasets.jsonl_seg import JsonlSegDataset
from lisa_mm.datasets.run_lengths import encode_mask
from lisa_mm.datasets.tokenizer import added_tokens, build_tokenizer
from lisa_mm.errors import ConfigError, DataError
from lisa_mm.models.prompt_positions import PromptPositions

from .families import TOKENIZER, whole_model
from .language_families import language_model
from .whole import LORA, TALK, batch, build, put_together, sample

KINDS = ('[SEG]', '[PART]')
MORE = ('[REJ]', '<p>', '</p>')


def two_kinds(**settings):
    part = {**language_model('llama'), 'mask_tokens': list(KINDS), 'answer_tokens': list(MORE)}
    return build({**put_together(), 'language_model': part}, **settings)


@pytest.fixture
def talks(monkeypatch):
    monkeypatch.setitem(TALK, 'kinds', [[('<image>\nthe cup and its handle', '<p> The cup </p> [SEG], its handle [PART].')]])
    monkeypatch.setitem(TALK, 'rejected', [[('<image>\nthe dog', 'There is none [REJ].')]])


def test_the_published_tokens_keep_their_ids():
    assert added_tokens(True) == ['[SEG]', '<im_start>', '<im_end>']
    assert added_tokens(True, KINDS, MORE) == ['[SEG]', '<im_start>', '<im_end>', '[PART]', *MORE]
    assert added_tokens(False, KINDS, MORE) == ['[SEG]', '[PART]', *MORE]
    plain = build_tokenizer(str(TOKENIZER), 'plain')
    more = build_tokenizer(str(TOKENIZER), 'plain', mask_tokens=KINDS, answer_tokens=MORE)
    for token in ('[SEG]', '<im_start>', '<im_end>'):
        assert plain.convert_tokens_to_ids(token) == more.convert_tokens_to_ids(token)
    assert len(more) == len(plain) + 1 + len(MORE)


def test_each_kind_becomes_a_mask(talks, monkeypatch):
    """[PART] has its own row of the embeddings and its own mask; [REJ] and <p> have rows and no masks."""
    model = two_kinds().train()
    tokenizer = build_tokenizer(**model.mllm.tokenizer_spec)
    assert model.mask_token_ids == tuple(tokenizer.convert_tokens_to_ids(list(KINDS)))
    assert model.seg_token_id == model.mask_token_ids[0]
    assert model.mllm.input_embeddings().weight.shape[0] >= len(tokenizer)  # pyright: ignore[reportIndexIssue] - a tensor

    # the helper draws masks for [SEG] alone
    item = sample(model, (48, 64), 'rejected')
    two = np.stack([np.ones((70, 30), np.uint8), np.eye(70, 30, dtype=np.uint8)])
    with pytest.raises(DataError, match=r'2 \[SEG\] or \[PART\] in its conversations but 1 masks'):
        sample(model, (70, 30), 'kinds', 1)
    monkeypatch.setitem(TALK, 'kinds', [[('<image>\nthe cup', '[SEG][SEG]')]])
    other = sample(model, (70, 30), 'kinds', 1)
    part = tokenizer.convert_tokens_to_ids('[PART]')
    ids, labels = other['inputs']['rows'][0]
    place = int((ids == model.seg_token_id).nonzero()[-1])
    ids[place] = labels[place] = part
    other['data_sample'].gt_masks = torch.from_numpy(two)
    data = batch(model, item, other)
    assert data['inputs']['layout'].prompts.kind.tolist() == [0, 1]
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    assert all(torch.isfinite(value) for value in losses.values())
    masks = [predicted.mask_logits for predicted in model.eval()(**data, mode='predict')]
    assert [tuple(logits.shape) for logits in masks] == [(0, 48, 64), (2, 70, 30)]


def test_a_kind_that_is_generated_becomes_a_mask():
    model = two_kinds().eval()
    data = batch(model, sample(model, (48, 64), 'none'))
    head = model.mllm.output_embeddings()
    with torch.no_grad():
        head.weight[model.mask_token_ids[1]] = 0  # pyright: ignore[reportIndexIssue] - a tensor
        head.bias = torch.nn.Parameter(torch.zeros(len(head.weight)))
        head.bias[model.mask_token_ids[1]] = 1e4
    answered = model(**data, mode='generate', max_new_tokens=3, eos_token_id=None, pad_token_id=3)[0]
    assert answered.generated[0].ids[-3:].tolist() == [model.mask_token_ids[1]] * 3
    assert answered.mask_logits.shape == (3, 48, 64)


def test_new_rows_are_those_of_all_tokens():
    model = two_kinds(train_embeddings='new_rows')
    tokenizer = build_tokenizer(**model.mllm.tokenizer_spec)
    new = [p for name, p in model.named_parameters() if p.requires_grad and 'new_rows' in name]
    assert {len(rows) for rows in new} == {len(added_tokens(True, KINDS, MORE))}
    assert len(tokenizer) > max(model.mask_token_ids)


def test_whole_models_take_them(tmp_path):
    model = build({**whole_model('llava', tmp_path), 'mask_tokens': list(KINDS)}, lora=LORA)
    assert len(model.mask_token_ids) == 2


def test_positions_of_two_kinds_by_hand():
    ids = torch.tensor([[5, 8, 9, 0], [9, 9, 1, 8]])
    found = PromptPositions.of(ids, [8, 9])
    assert found.row.tolist() == [0, 0, 1, 1, 1]
    assert found.position.tolist() == [1, 2, 0, 1, 3]
    assert found.kind.tolist() == [0, 1, 1, 1, 0]
    assert (found.counts, found.earliest) == ([2, 3], 0)
    assert PromptPositions.of(ids, 7).earliest is None


def test_one_config_edit_reaches_the_data_sets():
    config = load_config(lisa_mm.PACKAGE_DIR.parent / 'configs/lisa/lisa_7b_mix.py')
    config.model.mllm.language_model.mask_tokens = list(KINDS)
    compiled = compile_config(config)
    text = json.dumps(compiled.to_dict(), default=str)
    assert '"[PART]"' in json.dumps(compiled.train_dataloader.to_dict(), default=str)
    assert text.count('[PART]') > 1


def test_a_row_may_ask_for_both_kinds(tmp_path):
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(tmp_path / 'a.png')
    mask = encode_mask(np.ones((4, 6), bool))
    row = {'image': 'a.png', 'question': 'The cup?', 'answer': 'The cup [SEG], its handle [PART].', 'masks': [mask, mask]}
    (tmp_path / 'train.jsonl').write_text(json.dumps(row))
    dataset = JsonlSegDataset(str(tmp_path), mask_tokens=KINDS, cache_index=False)
    assert len(dataset.get_data_info(0)['questions'][0]['masks']) == 2
    with pytest.raises(DataError, match=r'1 \[SEG\] in its answers but 2 masks'):
        JsonlSegDataset(str(tmp_path), cache_index=False)


@pytest.mark.parametrize(
    ('arguments', 'said'),
    [
        (dict(mask_tokens=['[PART]']), r"must begin with '\[SEG\]'"),
        (dict(mask_tokens=[]), r"must begin with '\[SEG\]'"),
        (dict(mask_tokens='[SEG]'), 'mask_tokens is .*takes list'),
        (dict(mask_tokens=['[SEG]', '[SEG]']), 'lies inside'),
        (dict(mask_tokens=['[SEG]'], answer_tokens=['SEG']), r"'SEG' lies inside '\[SEG\]'"),
        (dict(answer_tokens=['<im']), "lies inside '<im_start>'"),
        (dict(answer_tokens=['a b']), 'holds white space'),
        (dict(answer_tokens=['']), 'is empty'),
    ],
)
def test_tokens_that_cannot_be_told_apart_are_refused(arguments, said):
    with pytest.raises(ConfigError, match=said):
        build({**put_together(), 'language_model': {**language_model('llama'), **arguments}})
