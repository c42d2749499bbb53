"""Bare questions, and rejections of what is not there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lisa_mm.datasets import JsonlSegDataset, ReasonSegDataset, ReferSegDataset, VQADataset, prompts
from lisa_mm.datasets.asking import Thing, ask_about, turn_about
from lisa_mm.datasets.base import Asked
from lisa_mm.datasets.index import CACHE_VARIABLE
from lisa_mm.datasets.masks import EncodedMask, names_no_region
from lisa_mm.datasets.run_lengths import encode_mask
from lisa_mm.datasets.wording import Wording
from lisa_mm.errors import ConfigError

from .golden_root import GOLDEN

SQUARE = [[1, 1], [3, 1], [3, 3], [1, 3]]
ROWS = [
    {'image': 'a.png', 'phrase': 'the Cup', 'masks': [SQUARE]},
    {'image': 'a.png', 'phrase': 'the ball', 'masks': []},
    {'image': 'a.png', 'question': 'What rolls?', 'masks': []},
    {'image': 'a.png', 'question': 'Where?', 'answer': 'Nowhere.'},
]


@pytest.fixture
def root(tmp_path):
    Image.new('RGB', (4, 4)).save(tmp_path / 'a.png')
    (tmp_path / 'train.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in ROWS))
    return str(tmp_path)


def answers_of(found: Asked) -> list[str]:
    """The first answer of each conversation."""
    return [str(turns[0][1]) for turns in found.conversations]


def asked(dataset, n=0, seed=0):
    return dataset.ask(dataset.get_data_info(n), np.random.default_rng(seed))


@pytest.mark.parametrize(
    ('mask', 'empty'),
    [
        ({'segmentations': []}, True),
        ({'segmentations': [[]]}, True),
        ({'segmentations': [[0, 0, 2, 0, 2, 2]]}, False),
        ({'union': []}, True),
        ({'union': [{'segmentations': []}, {'rle': encode_mask(np.eye(3))}]}, False),
        ({'rle': encode_mask(np.zeros((3, 3)))}, True),
        ({'shapes': []}, True),
        ({'shapes': [{'label': 'ignore', 'points': [[0, 0], [1, 0], [1, 1]]}]}, True),
        ({'shapes': [{'label': 'target', 'points': [[0, 0], [1, 0], [1, 1]]}]}, False),
        ({'label_map': 'a.png', 'value': 3}, False),
        ({'png': 'a.png'}, False),
    ],
)
def test_what_is_empty(mask: EncodedMask, empty):
    assert names_no_region(mask) is empty


def test_without_bare_the_stream_of_random_numbers_is_the_recipes():
    thing = Thing('the cup', {'segmentations': []})
    for is_sentence in (False, True):
        thing.is_sentence = is_sentence
        streams = [np.random.default_rng(3), np.random.default_rng(3)]
        turn = turn_about(thing, streams[0], Wording(bare=0.0, rejection=None))
        questions = prompts.LONG_QUESTIONS if is_sentence else prompts.SHORT_QUESTIONS
        question = questions[int(streams[1].integers(len(questions)))].format(sentence='the cup', name='the cup')
        assert turn == (question, prompts.ANSWERS[int(streams[1].integers(len(prompts.ANSWERS)))])
        assert streams[0].bit_generator.state == streams[1].bit_generator.state


def test_bare_questions_of_every_reader_are_their_texts(root):
    jsonl = JsonlSegDataset(root, bare=1.0, questions_per_image=9)
    questions = [turns[0][0] for turns in asked(jsonl).conversations]
    assert questions == ['<image>\nthe Cup', '<image>\nthe ball', '<image>\nWhat rolls?', '<image>\nWhere?']
    for dataset in (
        ReasonSegDataset(str(GOLDEN), split='train', explanatory=-1, bare=1.0),
        ReferSegDataset(str(GOLDEN), name='refcoco', bare=1.0),
    ):
        texts = [row.get('phrase') or row.get('question') for row in dataset.rows(dataset.get_data_info(0))]
        assert {turns[0][0] for turns in asked(dataset).conversations} <= {f'<image>\n{text}' for text in texts}


def test_an_explanation_is_asked_for_by_name():
    """A bare question could not say that an explanation is wanted."""
    dataset = ReasonSegDataset(str(GOLDEN), split='train', explanatory=0.0, bare=1.0)
    explained = [n for n in range(len(dataset)) if dataset.get_data_info(n)['explanation']]
    turns = [turn for n in explained for seed in range(20) for (turn,) in asked(dataset, n, seed).conversations]
    longer = [(question, answer) for question, answer in turns if answer not in prompts.ANSWERS]
    assert longer
    assert all('explain' in question or 'explanation' in question for question, _ in longer)


def test_the_share_of_bare_questions():
    thing = Thing('the cup', {'png': 'x'})
    rng = np.random.default_rng(0)
    share = np.mean([turn_about(thing, rng, Wording(0.3))[0] == '<image>\nthe cup' for _ in range(2000)])
    assert share == pytest.approx(0.3, abs=0.04)  # 4 standard deviations


def test_validation_asks_as_before(root):
    for options in ({'bare': 1.0}, {'rejection': '[REJ]'}):
        plain, changed = (JsonlSegDataset(root, test_mode=True, **given) for given in ({}, options))
        assert [asked(changed, n) for n in range(len(changed))] == [asked(plain, n) for n in range(len(plain))]
    empty = ask_about([Thing('x', {'union': []})], 3, np.random.default_rng(0), test_mode=True, wording=Wording(1, '[REJ]'))
    assert empty.conversations[0][0][1] == prompts.VALIDATION_ANSWER
    assert len(empty.masks) == 1


def test_empty_targets_are_rejected_and_have_no_mask(root):
    dataset = JsonlSegDataset(root, rejection='[REJ]', questions_per_image=9, name_in_answer=1.0)
    found = asked(dataset)
    answers = answers_of(found)
    assert [answer.count('[SEG]') for answer in answers] == [1, 0, 0, 0]
    assert [answer.count('[REJ]') for answer in answers] == [0, 1, 1, 0]
    assert 'the ball [REJ]' in answers[1]
    assert found.masks == [dataset.get_data_info(0)['phrases'][0]['masks'][0]]
    assert [answer.count('[SEG]') for answer in answers_of(asked(JsonlSegDataset(root)))] == [1, 1, 1]


def test_expressions_without_a_target_are_rejected():
    dataset = ReferSegDataset(str(GOLDEN), name='grefcoco', rejection='[REJ]', sentences_per_image=99)
    rejected = 0
    for n in range(len(dataset)):
        things = dataset.things(dataset.get_data_info(n))
        found = asked(dataset, n)
        answers = answers_of(found)
        assert [answer.count('[REJ]') for answer in answers] == [int(names_no_region(thing.mask)) for thing in things]
        assert len(found.masks) == sum(answer.count('[SEG]') for answer in answers)
        rejected += sum(answer.count('[REJ]') for answer in answers)
    assert rejected


@pytest.mark.parametrize('bare', [-0.1, 1.5, float('nan'), True, '0.3', None])
def test_a_probability_is_from_0_to_1(root, bare):
    with pytest.raises(ConfigError, match=r'JsonlSegDataset\.bare is .*give a number from 0 to 1') as caught:
        JsonlSegDataset(root, bare=bare)
    assert len(caught.value.faults) == 1


@pytest.mark.parametrize(('token', 'told'), [('', 'give one of the language model'), ('[SEG]', 'which asks for a mask')])
def test_a_rejection_is_another_token(root, token, told):
    with pytest.raises(ConfigError, match=told) as caught:
        JsonlSegDataset(root, rejection=token)
    assert len(caught.value.faults) == 1


def test_conversations_of_a_file_are_asked_as_they_are():
    for options in ({'bare': 0.5}, {'rejection': '[REJ]'}):
        with pytest.raises(ConfigError, match='its questions and answers are those of the file'):
            VQADataset(str(GOLDEN), **options)
    assert not VQADataset.argument_faults({'bare': 0.0, 'rejection': None})


def test_the_index_does_not_depend_on_the_wording(root, tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / 'cache'))
    for options in ({}, {'bare': 0.5, 'rejection': '[REJ]'}):
        len(JsonlSegDataset(root, **options))
    assert len(list((tmp_path / 'cache').glob('*.json'))) == 1
