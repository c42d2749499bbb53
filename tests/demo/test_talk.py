from __future__ import annotations

import json

import numpy as np

from lisa_mm.demo.layers import mask_layers
from lisa_mm.demo.talk import Exchange, Talk, Visit


def test_a_question_that_was_not_rewritten_is_not_said_twice() -> None:
    assert Exchange('the cup?', asked='the cup?').to_dict()['asked'] == ''
    assert Exchange('the cup?').to_dict()['asked'] == ''
    assert Exchange('the cup', asked='What is the cup?').to_dict()['asked'] == 'What is the cup?'


def test_history_is_what_was_asked() -> None:
    talk = Talk(exchanges=(Exchange('a', asked='What is a?', text='[SEG]'), Exchange('b', asked='b', text='No.')))
    assert talk.history == [('What is a?', '[SEG]'), ('b', 'No.')]


def test_masks_are_there_to_download_when_the_answer_is_whole() -> None:
    image, logits = np.zeros((4, 4, 3), np.uint8), np.ones((1, 4, 4), np.float32)
    layers = mask_layers(image, logits, ['a'])
    assert Talk(layers=layers).to_dict('m', 'here')['download'] == 'here'
    assert Talk(layers=layers, is_busy=True).to_dict('m', 'here')['download'] == ''
    assert Talk().to_dict('m', 'here')['download'] == ''
    json.dumps(Talk(layers=layers).to_dict('m'))


def test_the_size_counts_arrays_and_addresses() -> None:
    image, logits = np.zeros((4, 5, 3), np.uint8), np.ones((2, 4, 5), np.float32)
    layers = mask_layers(image, logits, ['a', 'b'])
    talk = Talk(image=image, logits=logits, picture='x' * 7, layers=layers)
    assert talk.nbytes == 60 + 160 + 7 + sum(len(layer.map) for layer in layers)
    assert Visit([talk, Talk(), talk]).nbytes == 2 * talk.nbytes
