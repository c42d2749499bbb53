"""Marks in captions: whatever the places, the text stays, and each [SEG] has its mask."""

from __future__ import annotations

import re

import numpy as np
import pytest

from lisa_mm.datasets.grounding import Grounded, mark_caption, mark_labels

CAPTION = 'A man in a red hat walks a dog near the sea.'
MARK = re.compile(r'<p> (.*?) </p> \[SEG\]')


def named(number):
    """A mask that can be recognised."""
    return {'png': str(number)}


def names(masks):
    """The numbers of masks and of the parts of unions."""
    return [[part['png'] for part in mask['union']] if 'union' in mask else [mask['png']] for mask in masks]


@pytest.mark.parametrize('seed', range(60))
def test_random_places(seed):
    """Against a second computation: pixel by pixel of the text, which phrase may keep a character."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(int(rng.integers(0, 9))):
        start, end = sorted(rng.choice(len(CAPTION) + 1, 2, replace=False).tolist())
        if CAPTION[start:end].strip():
            found.append(Grounded(start, end, named(number)))
    marked = mark_caption(CAPTION, found)
    assert MARK.sub(r'\1', marked.answer) == CAPTION
    assert MARK.findall(marked.answer) == marked.phrases
    assert len(marked.masks) == len(marked.phrases)

    free = [True] * len(CAPTION)
    wanted: dict[tuple[int, int], list[str]] = {}
    for one in sorted(found, key=lambda one: (spot(one)[0], -spot(one)[1])):
        place = spot(one)
        if place in wanted:
            wanted[place].append(one.mask['png'])
        elif all(free[place[0] : place[1]]):
            free[place[0] : place[1]] = [False] * (place[1] - place[0])
            wanted[place] = [one.mask['png']]
    assert marked.phrases == [CAPTION[start:end] for start, end in wanted]
    assert names(marked.masks) == list(wanted.values())
    assert marked.united == sum(len(masks) - 1 for masks in wanted.values())
    assert marked.overlapping == len(found) - sum(map(len, wanted.values()))


def spot(one):
    """The first and last characters that are not blank."""
    inside = [place for place in range(one.start, one.end) if CAPTION[place] != ' ']
    return inside[0], inside[-1] + 1


def test_a_caption_without_phrases_stays():
    assert mark_caption(CAPTION, []).answer == CAPTION


def test_labels_that_are_the_same_take_one_place_each():
    marked = mark_labels('A cat, a CAT and a caterpillar.', ['cat', 'cat', 'cat', 'a cat'], [named(n) for n in range(4)])
    assert marked.answer == (
        'A <p> cat </p> [SEG], a <p> CAT </p> [SEG] and a caterpillar. <p> cat </p> [SEG] <p> a cat </p> [SEG]'
    )
    assert marked.phrases == ['cat', 'cat', 'cat', 'a cat']
    assert names(marked.masks) == [['0'], ['1'], ['2'], ['3']]


def test_labels_with_signs_of_regular_expressions():
    assert mark_labels('A man (left).', ['man (left)'], [named(0)]).answer == 'A <p> man (left) </p> [SEG].'
