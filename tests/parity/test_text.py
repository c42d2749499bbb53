"""Token and label tables of the published templates, and prompts, against the original's collation."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import torch

from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.conversation import VICUNA_SYSTEM, VICUNA_V1_SYSTEM, Segment, encode, render
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms import EncodeConversations
from lisa_mm.tokens import IMAGE_TOKEN_ID, SEG_TOKEN

from .golden import expand

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
        assert tokenizer(entry['text'], add_special_tokens=False).input_ids == entry['input_ids_no_special'], entry['text']
        if entry['text']:  # a row is never empty
            ids, _ = encode([Segment(entry['text'])], tokenizer, num_image_tokens=1, wrap_image=False)
            assert ids.tolist() == entry['with_image_placeholder'], entry['text']
        compared += 1
    assert compared


def test_the_tables_cover_both_templates(golden):
    """Otherwise the tests below would pass on nothing."""
    for table, key in (('collate', 'conv_type'), ('prompts', 'template')):
        entries = json.loads((golden.root / 'data' / f'{table}.json').read_text())
        assert {entry[key] for entry in entries} == {'llava_v1', 'llava_llama_2'}, table


def test_collate(golden, collate_name):
    """Whole batches through our transform and collation: ids, labels, mask and offset, with the cut and without."""
    entries = json.loads((golden.root / 'data' / 'collate.json').read_text())
    entry = next(entry for entry in entries if entry['name'] == collate_name)
    arrays = np.load(golden.root / 'data' / 'collate.npz')
    wanted = {key: arrays[f'{collate_name}:{key}'] for key in ('input_ids', 'labels', 'attention_masks', 'offset')}
    folder, template = str(golden.models / 'llava-tiny-base'), entry['conv_type']
    spec = dict(pretrained=folder, template=template, wrap_image=entry['use_mm_start_end'])
    if not entry['use_mm_start_end']:
        # the original's tokenizer has all three tokens there too
        assert build_tokenizer(**spec).convert_tokens_to_ids(SEG_TOKEN) == build_tokenizer(folder).convert_tokens_to_ids(
            SEG_TOKEN
        )
    transform = EncodeConversations(spec, PLACEHOLDER_LENGTH, max_length=entry['model_max_length'])
    batch = []
    for first, end in itertools.pairwise(wanted['offset'].tolist()):
        conversations = [turns_of(text, template) for text in entry['conversation_list'][first:end]]
        count = sum((answer or '').count(SEG_TOKEN) for turns in conversations for _, answer in turns)
        results = dict(sample_id=collate_name, conversations=conversations, gt_masks=np.zeros((count, 1, 1), np.uint8))
        rows = transform({**results, 'test_mode': entry['inference']})['rows']
        empty = torch.zeros(1)
        batch.append({'inputs': {'pixel_values': empty, 'mask_image': empty, 'rows': rows}, 'data_sample': None})
    inputs = seg_collate(batch, pad_token_id=int(build_tokenizer(**spec).pad_token_id))['inputs']
    expanded = expand(*(torch.from_numpy(wanted[k]) for k in ('input_ids', 'labels', 'attention_masks')), PLACEHOLDER_LENGTH)
    for key in ('input_ids', 'labels', 'attention_mask'):
        assert torch.equal(inputs[key], expanded[key]), key
    assert torch.equal(inputs['image_index'], torch.repeat_interleave(torch.from_numpy(wanted['offset']).diff()))


def test_vicuna_v1_is_llava_v1_with_another_system_text(golden):
    """LLaVA-1.5's template: the tokens after the system text are those of the golden tables, and so are their labels."""
    tokenizer = build_tokenizer(str(golden.models / 'llava-tiny-base'))
    for entry in json.loads((golden.root / 'data' / 'collate.json').read_text()):
        if entry['conv_type'] != 'llava_v1':
            continue
        for text in entry['conversation_list']:
            turns = turns_of(text, 'llava_v1')
            wrap = entry['use_mm_start_end']
            published, ours = (
                encode(render(turns, name), tokenizer, num_image_tokens=1, wrap_image=wrap) for name in ('llava_v1', 'vicuna_v1')
            )
            systems = [len(tokenizer(text).input_ids) for text in (VICUNA_SYSTEM + ' USER:', VICUNA_V1_SYSTEM + ' USER:')]
            for theirs, mine in zip(published, ours, strict=True):
                assert theirs[systems[0] :].tolist() == mine[systems[1] :].tolist()
            assert tokenizer.decode(ours[0][: systems[1]]).removeprefix('<s>').strip() == VICUNA_V1_SYSTEM + ' USER:'


def test_a_cut_seg_takes_its_mask_along(golden):
    """A [SEG] that is cut away stopped the original: its mask goes with it."""
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
