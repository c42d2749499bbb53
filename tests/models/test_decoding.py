"""Rules for the rows of a batch: masks where they are wanted, draws that depend on a row's own seed alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lisa_mm.models.decoding import AnswerOptions, RowLimits, RowRules

SEG, PART, END, WORD = 5, 6, 2, 7
NOTHING = torch.zeros(1, 0, dtype=torch.long)


def logits(*tokens, rows=1):
    """Logits (rows, 10) that prefer the tokens in this order."""
    scores = torch.linspace(0, -1, 10).repeat(rows, 1)
    for place, token in enumerate(tokens):
        scores[:, token] = 10.0 - place
    return scores


def said(options, steps):
    """The tokens of one row that would say the best token of each step."""
    rules = RowRules([options], [SEG, PART], [END, 3])
    ids = NOTHING
    for scores in steps:
        ids = torch.cat([ids, rules(ids, scores).argmax(-1, keepdim=True)], dim=1)
    return ids[0].tolist()


def test_a_free_row_is_left_as_it_is():
    scores = logits(WORD)
    assert RowRules([AnswerOptions()], [SEG], [END])(NOTHING, scores) is scores


def test_where_a_row_would_end_without_a_mask_it_says_one():
    forced = AnswerOptions(force_seg=True, max_new_tokens=8)
    assert said(forced, [logits(WORD), logits(END), logits(END)]) == [WORD, SEG, END]
    assert said(forced, [logits(SEG), logits(END)]) == [SEG, END]
    assert said(forced, [logits(PART), logits(3)]) == [PART, 3]  # another mask token is a mask too
    assert said(AnswerOptions(force_seg=True, max_new_tokens=2), [logits(WORD), logits(WORD)]) == [WORD, SEG]
    assert said(AnswerOptions(force_seg=True, max_new_tokens=1), [logits(WORD)]) == [SEG]


def test_a_mask_without_text():
    assert said(AnswerOptions(no_text=True), [logits(WORD), logits(WORD)]) == [SEG, END]


def test_the_rules_of_a_row_leave_the_others():
    rules = RowRules([AnswerOptions(), AnswerOptions(no_text=True)], [SEG], [END])
    scores = logits(WORD, rows=2)
    found = rules(torch.zeros(2, 0, dtype=torch.long), scores)
    assert found.argmax(-1).tolist() == [WORD, SEG]
    assert torch.equal(found[0], scores[0])
    assert scores.argmax(-1).tolist() == [WORD, WORD]  # what was given is not changed


def drawn(seed, rows=1, place=0, steps=4, **options):
    """The tokens drawn by a row with a seed, among others with other seeds."""
    given = [AnswerOptions(temperature=1.0, seed=100 + row, **options) for row in range(rows)]
    given[place] = AnswerOptions(temperature=1.0, seed=seed, **options)
    rules = RowRules(given, [SEG], [END])
    ids = torch.zeros(rows, 0, dtype=torch.long)
    for _ in range(steps):
        ids = torch.cat([ids, rules(ids, torch.zeros(rows, 10)).argmax(-1, keepdim=True)], dim=1)
    return ids[place].tolist()


def test_draws_depend_on_the_seed_and_not_on_the_batch():
    assert drawn(1) == drawn(1, rows=4, place=2) == drawn(1, rows=2, place=1)
    assert len({tuple(drawn(seed)) for seed in range(20)}) > 15


def test_draws_follow_the_probabilities():
    """2,000 seeds; a share of p has the standard deviation sqrt(p (1 - p) / 2,000) <= 0.0112."""
    wanted = torch.tensor([0.5, 0.3, 0.15, 0.05])
    counts = np.zeros(4)
    for seed in range(2000):
        rules = RowRules([AnswerOptions(temperature=2.0, seed=seed)], [1], [2])
        counts[int(rules(NOTHING, 2 * wanted.log()[None]).argmax())] += 1
    assert np.abs(counts / 2000 - wanted.numpy()).max() < 4 * 0.0112


def test_few_of_the_likeliest():
    scores = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

    def tokens(**options):
        found = set()
        for seed in range(200):
            rules = RowRules([AnswerOptions(temperature=1.0, seed=seed, **options)], [1], [2])
            found.add(int(rules(NOTHING, scores).argmax()))
        return found

    assert tokens() == {0, 1, 2, 3}
    assert tokens(top_k=2) == {0, 1}
    assert tokens(top_p=0.7) == {0, 1}
    assert tokens(top_k=1) == {0}


def test_rows_end_at_their_own_number_of_tokens():
    limits = RowLimits([1, 3, 2])
    ids = torch.zeros(3, 1, dtype=torch.long)
    assert [limits(ids, None).tolist() for _ in range(3)] == [[True, False, False], [True, False, True], [True, True, True]]
    assert RowLimits([5, 5], lambda row: row == 1)(ids[:2], None).tolist() == [False, True]


@pytest.mark.parametrize(('how', 'free'), [({}, True), ({'force_seg': True}, False), ({'temperature': 0.5}, False)])
def test_is_free(how, free):
    assert AnswerOptions(**how).is_free is free
