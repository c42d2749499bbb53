"""Sums, parts, intervals and gathering of a metric, on one that counts pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lisa_mm.evaluation.base import JudgedMetric
from lisa_mm.evaluation.bootstrap import interval_of_ratio
from lisa_mm.evaluation.judged import judge
from lisa_mm.structures import SegDataSample

from .random_samples import cases


class Share(JudgedMetric):
    """Share of the predicted pixels that are right, and of those of the first row; a number of questions."""

    EPSILONS = {'eased': 1.0}

    def terms(self, judged):
        found, right = sum(judged.predicted), judged.joined[0]
        terms = {'share': (right, found), 'eased': (right, found), 'eased all': (right, found)}
        return {**terms, 'share first': (right, found)} if judged.row == 0 else terms

    def others(self, judged):
        return {'twice': 2.0 * len(judged)}


def test_sums_are_divided():
    rows = [case.judged for case in cases(np.random.default_rng(0), 50)]
    found = Share().score(rows)
    right, pixels = sum(one.joined[0] for one in rows), sum(sum(one.predicted) for one in rows)
    assert found['share'] == pytest.approx(right / pixels)
    assert found['eased'] == found['eased all'] == pytest.approx(right / (pixels + 1))  # a part has its score's epsilon
    first = [one for one in rows if one.row == 0]
    assert found['share first'] == pytest.approx(sum(one.joined[0] for one in first) / sum(sum(one.predicted) for one in first))
    assert (found['twice'], found['num_questions']) == (100, 50)


def test_images_are_the_units_of_intervals():
    rows = [case.judged for case in cases(np.random.default_rng(0), 50)]
    tops, bottoms = Share().by_image(rows, 'share first')
    assert len(tops) == len(bottoms) == 25  # two questions an image
    assert tops == [one.joined[0] for one in rows if one.row == 0]
    intervals = Share().intervals(rows, rounds=200)
    assert intervals['share first'] == interval_of_ratio(tops, bottoms, 200)
    assert set(intervals) == {'share', 'share first', 'eased', 'eased all'}


def test_an_image_without_such_a_question_keeps_its_place():
    """Two runs are compared image by image, so the places must not depend on the score."""
    rows = [case.judged for case in cases(np.random.default_rng(0), 6)]
    rows = [one for one in rows if not (one.sample_id == '1.jpg' and one.row == 0)]
    assert Share().by_image(rows, 'share first')[1][1] == 0
    assert len(Share().by_image(rows, 'share first')[0]) == 3


def test_an_image_that_no_unit_is_about_keeps_its_place():
    class First(Share):
        def units(self, judged):
            return super().units([one for one in judged if one.sample_id == '0.jpg'])

    rows = [case.judged for case in cases(np.random.default_rng(0), 6)]
    found = First().by_image(rows, 'share')
    assert [len(values) for values in found] == [3, 3]
    assert [values[1:] for values in found] == [[0, 0], [0, 0]]


def test_samples_are_judged_unless_the_loop_has_done_so():
    masks = torch.ones(1, 2, 2)
    data = SegDataSample(metainfo={'sample_id': 'a', 'img_path': 'a.png'})
    data.set_data({'masks': masks > 0, 'gt_masks': masks})
    plain = {'masks': masks > 0, 'gt_masks': masks * 0}
    done = {'judged': judge(plain), 'gt_masks': 'not read'}
    metric = Share()
    metric.process(None, [data, plain, done])
    assert [[one.joined for one in image] for image in metric.results] == [[(4, 4)], [(0, 4)], [(0, 4)]]
    assert metric.evaluate(size=2)['share'] == 0.5  # of what was padded, nothing counts


def test_masks_are_kept_where_they_are_needed():
    class Needs(Share):
        needs_masks = True

    sample = {'masks': torch.ones(1, 2, 2) > 0, 'gt_masks': torch.ones(1, 2, 2)}
    for metric, kept in ((Share(), False), (Needs(), True)):
        metric.process(None, [sample])
        assert (metric.results[0][0].masks is not None) is kept


def test_no_question():
    assert Share().score([]) == {'twice': 0.0, 'num_questions': 0.0}
    assert Share().intervals([]) == {}
