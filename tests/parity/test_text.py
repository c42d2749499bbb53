"""Token and label tables of the llava_v1 template, and prompts, against the original's collation."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch

from lisa_mm.datasets.conversation import encode, render
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms import EncodeConversations
from lisa_mm.models.base import IMAGE_TOKEN_ID

PLACEHOLDER_LENGTH = 256  # the original cuts text at model_max_length - 255, one placeholder in it


def turns_of(conversation, template):
    """A golden conversation text -> questions and answers."""
    if template == 'llava_v1':
        found = re.findall(r'USER: (.*?) ASSISTANT:(?: (.*?)</s>)?', conversation, flags=re.S)
    else:
        text = re.sub(r'<<SYS>>\n.*?\n<</SYS>>\n\n', '', conversation, flags=re.S)
        found = re.findall(r'\[INST\] (.*?) \[/INST\](?: (.*?) </s>)?', text, flags=re.S)
    return [(q.replace('<im_start><image><im_end>', '<image>'), a or None) for q, a in found]


def test_prompts(golden):
    for entry in json.loads((golden.root / 'data' / 'prompts.json').read_text()):
        messages = [m[1] for m in entry['messages']]
        turns = [(q, a or None) for q, a in zip(messages[::2], messages[1::2], strict=True)]
        assert ''.join(s.text for s in render(turns, entry['template'])) == entry['prompt']


def test_tokenization(golden):
    table = json.loads((golden.root / 'data' / 'tokenization.json').read_text())
    tokenizer = build_tokenizer(str(golden.models / 'llava-tiny-base'))
    assert len(tokenizer) == table['length']
    for text, token in table['added'].items():
        assert tokenizer.convert_tokens_to_ids(text) == token
    compared = 0
    for entry in table['tables']['legacy_true']:
        if entry['text'].startswith(' '):
            continue  # MANIFEST: the one kind of text that present tokenizers treat otherwise
        assert tokenizer(entry['text']).input_ids == entry['input_ids'], entry['text']
        compared += 1
    assert compared


def collate_cases(golden, template):
    for entry in json.loads((golden.root / 'data' / 'collate.json').read_text()):
        if entry['conv_type'] == template:
            yield entry


@pytest.mark.parametrize('template', ['llava_v1', 'llava_llama_2'])
def test_collate(golden, template):
    arrays = np.load(golden.root / 'data' / 'collate.npz')
    for entry in collate_cases(golden, template):
        spec = dict(pretrained=str(golden.models / 'llava-tiny-base'), template=template, wrap_image=entry['use_mm_start_end'])
        tokenizer = build_tokenizer(spec['pretrained'])  # the golden tokenizer always has all three tokens
        name = entry['name']
        limit = None if entry['inference'] else entry['model_max_length'] - PLACEHOLDER_LENGTH + 1
        longest = 0
        for i, text in enumerate(entry['conversation_list']):
            segments = render(turns_of(text, template), template)
            ids, labels = encode(segments, tokenizer, num_image_tokens=1, wrap_image=spec['wrap_image'])
            ids, labels = ids[:limit], labels[:limit]
            n = len(ids)
            longest = max(longest, n)
            mask = torch.from_numpy(arrays[f'{name}:attention_masks'][i])
            assert ids.tolist() == arrays[f'{name}:input_ids'][i][:n].tolist(), (name, i)
            assert labels.tolist() == arrays[f'{name}:labels'][i][:n].tolist(), (name, i)
            assert (arrays[f'{name}:input_ids'][i][n:] == 0).all()
            assert (arrays[f'{name}:labels'][i][n:] == -100).all()
            assert mask.sum() == n - int((ids == 0).sum())
        assert arrays[f'{name}:input_ids'].shape[1] == longest


def test_a_cut_seg_takes_its_mask_along(golden):
    """recipe.md, behaviour 1."""
    spec = dict(pretrained=str(golden.models / 'llava-tiny-base'), template='llava_v1', wrap_image=True)
    long_answer = 'yes ' * 40 + '[SEG].'
    results = {
        'sample_id': 'a',
        'conversations': [[('<image>\nWhere?', '[SEG].')], [('<image>\nWhere?', long_answer)]],
        'gt_masks': np.stack([np.full((2, 2), 1, np.uint8), np.full((2, 2), 2, np.uint8)]),
        'test_mode': False,
    }
    whole = EncodeConversations(spec, 4, max_length=None)(results)
    assert whole['gt_masks'].shape[0] == 2
    assert (whole['rows'][0][0] == IMAGE_TOKEN_ID).sum() == 4
    limit = len(whole['rows'][0][0]) + 1
    cut = EncodeConversations(spec, 4, max_length=limit)(results)
    assert cut['gt_masks'].tolist() == [[[1, 1], [1, 1]]]
    assert len(cut['rows'][1][0]) == limit
