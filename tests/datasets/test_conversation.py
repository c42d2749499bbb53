"""Templates, and which tokens carry loss."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from lisa_mm.datasets.collate import seg_collate
from lisa_mm.datasets.conversation import Segment, encode, render, stop_ids
from lisa_mm.datasets.tokenizer import build_tokenizer
from lisa_mm.datasets.transforms.conversation import EncodeConversations, kept_length
from lisa_mm.errors import CheckpointError, ConfigError, DataError
from lisa_mm.tokens import IMAGE_TOKEN_ID

NANO = str(Path(__file__).parents[2] / 'lisa_mm' / 'weights' / 'nano' / 'tokenizer')
CHATML = (
    "{% for m in messages %}{{ '<s>' if loop.first else '' }}{{ m['role'] + '\n' + m['content'] | trim + '</s>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant\n' }}{% endif %}"
)


@pytest.fixture
def chat(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    tokenizer.chat_template = CHATML
    tokenizer.save_pretrained(tmp_path)
    return build_tokenizer(str(tmp_path), 'chat')


def trained_text(tokenizer, labels):
    return tokenizer.decode([i for i in labels if i >= 0])


def test_chat_template_trains_answers_and_their_end(chat):
    turns = [('<image>\nWhat is it?', 'It is [SEG].'), ('And this?', ' a cup ')]
    ids, labels = encode(render(turns, 'chat', chat), chat, num_image_tokens=3, wrap_image=True)
    assert trained_text(chat, labels) == 'It is [SEG].</s> a cup </s>'
    assert (ids == IMAGE_TOKEN_ID).sum() == 3
    assert ids.tolist().count(chat.bos_token_id) == 1


def test_chat_prompt_for_generation_is_open(chat):
    text = ''.join(s.text for s in render([('hello', None)], 'chat', chat))
    assert text.endswith('assistant\n')


# Chat templates written from the published conversation formats of the families; X marks the end of a turn
FORMATS = {
    # <|im_start|>role\ntext<|im_end|>\n
    'chatml': (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
        '<|im_end|>',
        '<|im_start|>user\nA?<|im_end|>\n<|im_start|>assistant\n',
        '\n<|im_start|>user\nB?<|im_end|>\n<|im_start|>assistant\n',
        '\n',
    ),
    # bos<start_of_turn>user\ntext<end_of_turn>\n<start_of_turn>model\n; eos is another token
    'gemma': (
        "{{ '<s>' }}{% for m in messages %}{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' "
        "+ m['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
        '<end_of_turn>',
        '<start_of_turn>user\nA?<end_of_turn>\n<start_of_turn>model\n',
        '\n<start_of_turn>user\nB?<end_of_turn>\n<start_of_turn>model\n',
        '\n',
    ),
    # bos<|start_header_id|>role<|end_header_id|>\n\ntext<|eot_id|>, with a date before; texts are trimmed
    'llama3': (
        "{{ '<s>' + '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + (date_string if date_string is defined else "
        "strftime_now('%d %b %Y')) + '<|eot_id|>' }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + "
        "'<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
        '<|eot_id|>',
        '<|start_header_id|>system<|end_header_id|>\n\nToday Date: 26 Jul 2024<|eot_id|>'
        '<|start_header_id|>user<|end_header_id|>\n\nA?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
        '<|start_header_id|>user<|end_header_id|>\n\nB?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n',
        '',
    ),
    # <|role|>\ntext<|end|>\n, at the end of all another token, which is eos
    'phi3': (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{{ '<|assistant|>\n' if add_generation_prompt else eos_token }}",
        '<|end|>',
        '<|user|>\nA?<|end|>\n<|assistant|>\n',
        '\n<|user|>\nB?<|end|>\n<|assistant|>\n',
        '\n</s>',
    ),
    # as Phi-3 without line ends
    'phi4': (
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
        "{{ '<|assistant|>' if add_generation_prompt else eos_token }}",
        '<|end|>',
        '<|user|>A?<|end|><|assistant|>',
        '<|user|>B?<|end|><|assistant|>',
        '</s>',
    ),
    # chatml; the last answer alone has an empty thought, thoughts of earlier ones are dropped
    'qwen3': (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
        "{% if m['role'] == 'assistant' %}{% set said = m['content'].split('</think>')[-1].lstrip('\n') %}"
        "{{ '<think>\n\n</think>\n\n' + said if loop.last else said }}{% else %}{{ m['content'] }}{% endif %}"
        "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}"
        "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}{% endif %}",
        '<|im_end|>',
        '<|im_start|>user\nA?<|im_end|>\n<|im_start|>assistant\n',
        '\n<|im_start|>user\nB?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n',
        '\n',
    ),
    # chatml with a system text that says the day, and an empty thought before every answer unless it may think
    'smollm3': (
        "{% set thought = '' if enable_thinking is not defined or enable_thinking else '<think>\n\n</think>\n' %}"
        "{{ '<|im_start|>system\n' + strftime_now('%d %B %Y') + '<|im_end|>\n' }}"
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ thought + m['content'].lstrip('\n') + '<|im_end|>\n' }}{% endgeneration %}"
        "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' + thought }}{% endif %}",
        '<|im_end|>',
        '<|im_start|>system\n26 July 2024<|im_end|>\n<|im_start|>user\nA?<|im_end|>\n<|im_start|>assistant\n'
        '<think>\n\n</think>\n',
        '\n<|im_start|>user\nB?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n',
        '\n',
    ),
    # [INST] text[/INST] text</s>: the blank before an answer is a part of it; refuses roles that do not alternate
    'mistral_v3': (
        "{{ '<s>' }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('roles must alternate') }}{% endif %}{{ '[INST] ' + m['content'] + '[/INST]' if m['role'] == 'user' "
        "else ' ' + m['content'] | trim + '</s>' }}{% endfor %}",
        '</s>',
        '[INST] A?[/INST]',
        '[INST] B?[/INST]',
        '',
    ),
    # [INST] text [/INST] text</s>
    'mistral': (
        "{{ '<s>' }}{% for m in messages %}{{ '[INST] ' + m['content'] + ' [/INST] ' if m['role'] == 'user' "
        "else m['content'] + '</s>' }}{% endfor %}",
        '</s>',
        '[INST] A? [/INST] ',
        '[INST] B? [/INST] ',
        '',
    ),
}


@pytest.fixture(params=list(FORMATS))
def family(request, tmp_path):
    template, end, *expected = FORMATS[request.param]
    tokenizer = AutoTokenizer.from_pretrained(NANO)
    marks = ['<|im_start|>', '<|im_end|>', '<start_of_turn>', '<end_of_turn>', '<|end|>', '<|user|>', '<|assistant|>']
    marks += ['<|start_header_id|>', '<|end_header_id|>', '<|eot_id|>', '[INST]', '[/INST]']
    tokenizer.add_tokens([AddedToken(mark, special=True, normalized=False) for mark in marks], special_tokens=True)
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path)
    return build_tokenizer(str(tmp_path), 'chat'), end, expected


def test_hugging_face_templates_by_hand(family):
    """Answers and the end of their turn carry loss, the rest does not; the end of a turn stops generation."""
    tokenizer, end, (first, between, last) = family
    segments = render([('A?', 'yes'), ('B?', 'It is [SEG].')], 'chat', tokenizer)
    blank = '' if first[-1].isspace() or first.endswith('|>') else ' '  # Mistral's is a part of what it says
    answers = [(f'{blank}yes{end}', True), (f'{blank}It is [SEG].{end}', True)]
    wanted = [(first, False), answers[0], (between, False), answers[1], *([(last, False)] if last else [])]
    assert [(segment.text, segment.carries_loss) for segment in segments] == wanted
    ids, labels = encode(segments, tokenizer, num_image_tokens=1, wrap_image=True)
    assert trained_text(tokenizer, labels).replace(' ', '') == f'yes{end}Itis[SEG].{end}'
    assert ids.tolist().count(tokenizer.bos_token_id) == 1
    assert tokenizer.convert_tokens_to_ids(end) in stop_ids('chat', tokenizer)


def test_generation_begins_where_training_did(family):
    """Token by token: an open prompt is the training text up to its answer, so that the model is asked what it was taught."""
    tokenizer, _, _ = family
    options = dict(num_image_tokens=2, wrap_image=True)
    for turns in ([('<image>\nA?', 'It is [SEG].')], [('<image>\nA?', 'yes'), ('B?', 'It is [SEG].')]):
        ids, labels = encode(render(turns, 'chat', tokenizer), tokenizer, **options)
        asked, _ = encode(render([*turns[:-1], (turns[-1][0], None)], 'chat', tokenizer), tokenizer, **options)
        if len(turns) > 1 and '<think>' in tokenizer.chat_template and 'loop.last' in tokenizer.chat_template:
            continue  # Qwen3 drops the empty thought of earlier answers once there is a later one
        assert ids[: len(asked)].tolist() == asked.tolist()
        assert labels[len(asked)] != -100
        assert labels[len(asked) - 1] == -100


def bare_tokenizer(folder, **special: str):
    """Bytes and nothing else: no bos, no unk, no pad unless given."""
    bytes_ = Tokenizer(models.BPE({c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    saved = PreTrainedTokenizerFast(tokenizer_object=bytes_, **special)
    saved.chat_template = FORMATS['chatml'][0]
    saved.save_pretrained(folder)
    return build_tokenizer(str(folder), 'chat')


def test_a_tokenizer_without_pad_and_bos(tmp_path):
    """Qwen has no bos, Llama 3 no pad: padding is eos then, and an answer's own eos keeps its label."""
    tokenizer = bare_tokenizer(tmp_path, eos_token='<|im_end|>', additional_special_tokens=['<|im_start|>'])
    assert tokenizer.bos_token_id is None
    assert tokenizer.pad_token_id == tokenizer.eos_token_id
    rows = []
    for answer in ('It is [SEG].', 'no'):
        segments = render([('<image>\nA?', answer)], 'chat', tokenizer)
        ids, labels = encode(segments, tokenizer, num_image_tokens=2, wrap_image=True)
        assert ids[0] == tokenizer.convert_tokens_to_ids('<|im_start|>')
        assert trained_text(tokenizer, labels) == f'{answer}<|im_end|>'
        rows.append((ids, labels))
    item = {'inputs': {'rows': rows, 'mask_image': torch.zeros(1), 'pixel_values': torch.zeros(1)}, 'data_sample': None}
    inputs = seg_collate([item], pad_token_id=tokenizer.pad_token_id)['inputs']
    assert inputs['attention_mask'].sum(1).tolist() == [len(ids) for ids, _ in rows]
    assert [int((row == tokenizer.eos_token_id).sum()) for row in inputs['labels']] == [1, 1]


def test_vicuna_v1_by_hand():
    """LLaVA-1.5's conversation: roles USER and ASSISTANT, a blank between, </s> behind answers."""
    system = (
        'A chat between a curious user and an artificial intelligence assistant. '
        "The assistant gives helpful, detailed, and polite answers to the user's questions. "
    )
    assert render([('<image>\nA?', 'yes'), ('B?', 'no'), ('C?', None)], 'vicuna_v1') == [
        Segment(system + 'USER: <image>\nA? ASSISTANT: '),
        Segment('yes</s>', carries_loss=True),
        Segment('USER: B? ASSISTANT: '),
        Segment('no</s>', carries_loss=True),
        Segment('USER: C? ASSISTANT:'),
    ]
    tokenizer = build_tokenizer(NANO)
    assert stop_ids('vicuna_v1', tokenizer) == [tokenizer.eos_token_id]


@pytest.mark.parametrize('template', ['llava_v1', 'vicuna_v1', 'plain', 'llava_llama_2'])
def test_answers_carry_loss_and_nothing_else(template):
    tokenizer = build_tokenizer(NANO)
    _, labels = encode(render([('a', 'yes'), ('b', 'no')], template), tokenizer, num_image_tokens=1, wrap_image=True)
    assert trained_text(tokenizer, labels).replace(' ', '') == 'yes</s>no</s>'


def test_text_without_an_image_and_a_prompt_without_an_answer():
    tokenizer = build_tokenizer(NANO)
    ids, labels = encode(render([('a', None)], 'plain'), tokenizer, num_image_tokens=4, wrap_image=True)
    assert IMAGE_TOKEN_ID not in ids
    assert (labels == -100).all()
    assert tokenizer.decode(ids).endswith('ASSISTANT:')


def test_an_answer_with_separator_text_is_trained_whole():
    """An answer that contains the separator stopped the original."""
    tokenizer = build_tokenizer(NANO)
    answer = 'USER: said ASSISTANT: twice'
    _, labels = encode(render([('a', answer)], 'plain'), tokenizer, num_image_tokens=1, wrap_image=True)
    assert trained_text(tokenizer, labels).strip() == answer + '</s>'


def test_an_image_in_an_answer_is_refused():
    with pytest.raises(DataError, match='Only questions may hold an image'):
        encode([Segment('<image>', carries_loss=True)], build_tokenizer(NANO), num_image_tokens=1, wrap_image=True)


def test_wrong_tokenizers(tmp_path):
    with pytest.raises(CheckpointError, match='is no folder'):
        build_tokenizer(str(tmp_path / 'none'))
    with pytest.raises(CheckpointError, match='no readable tokenizer'):
        build_tokenizer(str(tmp_path))
    with pytest.raises(ConfigError, match='has no chat template'):
        build_tokenizer(NANO, 'chat')


@pytest.mark.parametrize(
    ('ids', 'max_length', 'kept'),
    [
        ([1, 2, 3], 2, 2),
        ([1, 2, 3], 9, 3),
        ([1, -200, -200, -200, 5, 6], 5, 5),  # 5 - 3 + 1 = 3 places: 1, the image, 5
        ([1, 2, 3, -200, -200, -200, 5], 5, 3),  # the image begins after 3 places: it goes as a whole
        ([-200, -200, 4, -200, -200, 5], 5, 5),  # 5 - 4 + 2 = 3 places
        ([], 4, 0),
    ],
)
def test_an_image_is_kept_or_cut_as_a_whole(ids, max_length, kept):
    row = torch.tensor(ids, dtype=torch.long)
    assert kept_length(row, max_length) == kept
    images = int((row == IMAGE_TOKEN_ID).sum())
    assert kept_length(row, None, max_length - images) == kept  # the same cut, said of the text alone
    assert kept_length(row, None) == len(ids)


def test_the_log_says_how_many_masks_were_cut_whenever_they_doubled(monkeypatch):
    told = []
    monkeypatch.setattr('lisa_mm.datasets.transforms.conversation.print_log', lambda text, **_: told.append(text))
    step = EncodeConversations(dict(pretrained=NANO, template='plain', wrap_image=True), 3, max_length=None, max_text_length=20)
    sample = dict(test_mode=False, conversations=[[('the cup ' * 20, '[SEG].')]])
    for number in range(9):
        made = step.transform({**sample, 'sample_id': str(number), 'gt_masks': np.ones((1, 2, 2), np.uint8)})
        assert len(made['gt_masks']) == 0
    assert [text.split(':')[0] for text in told] == ['0', '1', '3', '7']
    assert '(8 so far in this worker' in told[-1]
    assert step.masks_cut == 9
