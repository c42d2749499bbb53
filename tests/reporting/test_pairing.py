from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lisa_mm.evaluation.bootstrap import resamples
from lisa_mm.evaluation.judged import Judged
from lisa_mm.evaluation.results import Score
from lisa_mm.reporting.pairing import is_clear, pair

from .making import run_of


def judged(image: int, row: int, pair: tuple[int, int], **more: Any) -> Judged:
    """A question whose answer was given, with its (intersection, union)."""
    intersection, union = pair
    settings: dict[str, Any] = {
        'sample_id': str(image),
        'img_path': f'/data/{image}.jpg',
        'row': row,
        'turn': 0,
        'question': 'where?',
        'answer': None,
        'facts': {},
        'size': (10, 10),
        'targets': [intersection],
        'predicted': [union],
        'intersections': [[intersection]],
        'unions': [[union]],
        'joined': pair,
    }
    return Judged(**{**settings, **more})


FIRST = [judged(0, 0, (2, 10)), judged(0, 1, (5, 10)), judged(1, 0, (6, 12))]
OTHER = [judged(0, 0, (4, 10)), judged(0, 1, (5, 10)), judged(1, 0, (12, 12))]


def test_by_hand():
    # gIoU: (0.2 + 0.5 + 0.5) / 3 = 0.4 and (0.4 + 0.5 + 1) / 3 = 0.6333; cIoU: 13 / 32 and 21 / 32
    found = pair(run_of('x', FIRST), run_of('x', OTHER), FIRST, OTHER)
    assert found.why == ''
    assert found.differences['gIoU'].value == pytest.approx(0.7 / 3, abs=1e-5)
    assert found.differences['cIoU'].value == pytest.approx(8 / 32, abs=1e-9)
    # two images: drawn twice the first (+0.1), each once (+0.7 / 3), twice the second (+0.5)
    assert found.differences['gIoU'].low == pytest.approx(0.1, abs=1e-5)
    assert found.differences['gIoU'].high == pytest.approx(0.5, abs=1e-5)
    assert is_clear(found.differences['gIoU'])


@pytest.mark.parametrize('seed', range(50))
def test_against_a_loop(seed):
    rng = np.random.default_rng(seed)
    images = int(rng.integers(1, 7))
    sets = []
    for _ in range(2):
        rows = []
        for image in range(images):
            for row in range(int(np.random.default_rng(100 * seed + image).integers(1, 4))):  # as many in both
                union = int(rng.choice([0, 1, 7, 50]))
                rows.append(judged(image, row, (int(rng.integers(0, union + 1)), union)))
        sets.append(rows)
    runs = [run_of('x', rows) for rows in sets]
    found = pair(*runs, *sets)
    for name in ('gIoU', 'cIoU'):
        differences = []
        for drawn in resamples(images):
            scores = []
            for rows in sets:
                pairs = [one.joined for one in rows for _ in range(int(drawn[int(one.sample_id)]))]
                if name == 'gIoU':
                    scores.append(np.mean([i / (u + 1e-5) if u else 1 for i, u in pairs]))
                else:
                    total = sum(u for _, u in pairs)
                    scores.append(sum(i for i, _ in pairs) / total if total else np.nan)
            differences.append(scores[1] - scores[0])
        differences = np.array(differences)[~np.isnan(differences)]
        if not len(differences) or name not in found.differences:
            assert name not in found.differences  # no figure over nothing
            continue
        low, high = np.quantile(differences, [0.025, 0.975])
        assert found.differences[name].low == pytest.approx(low, abs=1e-9)
        assert found.differences[name].high == pytest.approx(high, abs=1e-9)


def test_the_order_and_the_folder_of_the_images_do_not_matter():
    moved = [replace(one, img_path=f'/elsewhere/{one.sample_id}.jpg') for one in reversed(OTHER)]
    assert pair(run_of('x', FIRST), run_of('x', moved), FIRST, moved) == pair(
        run_of('x', FIRST), run_of('x', OTHER), FIRST, OTHER
    )


def test_one_against_itself():
    found = pair(run_of('x', FIRST), run_of('x', FIRST), FIRST, FIRST)
    assert found.differences['gIoU'] == Score(value=0, low=0, high=0)
    assert not is_clear(found.differences['gIoU'])


NONE: list[Judged] = []


@pytest.mark.parametrize(
    ('other', 'more', 'why'),
    [
        (OTHER[:2], {}, '2 questions in common of 3 and 2'),
        ([judged(7, 0, (1, 2))], {}, '0 questions in common of 3 and 1'),
        (OTHER, {'split_sha256': 'cd'}, 'the hashes of the split differ'),
        (OTHER, {'split_sha256': None}, 'a hash of the split is missing'),
        ([*OTHER[:2], OTHER[0]], {}, 'some questions have the same name'),
        (OTHER, {'status': 'absent'}, 'one of both was not run'),
    ],
)
def test_no_difference(other, more, why):
    assert pair(run_of('x', FIRST), run_of('x', OTHER, **more), FIRST, other).why == why
    assert not pair(run_of('x', FIRST), run_of('x', OTHER, **more), FIRST, other).differences


def test_no_rows_or_no_run():
    run = run_of('x', FIRST)
    assert pair(run, run, FIRST, None).why == 'the rows of one of both were not kept'
    assert pair(None, run, None, FIRST).why == 'one of both was not run'
    assert pair(run, run, NONE, NONE).why == 'there are no questions'


def test_unknown_metrics():
    nameless, unknown = run_of('x', FIRST, metrics=[]), run_of('x', FIRST, metrics=[{'type': 'MyMetric'}])
    assert pair(nameless, nameless, FIRST, OTHER).why == 'results.json does not name its metrics'
    assert pair(unknown, unknown, FIRST, OTHER).why == 'the metric MyMetric is not registered here'


def test_rows_of_another_run():
    first = run_of('x', FIRST)
    found = pair(first, run_of('x', OTHER), FIRST, FIRST)  # the second one's rows were exchanged
    assert found.why == 'the rows do not give the figures of results.json for gIoU, cIoU'
    assert not found.differences
