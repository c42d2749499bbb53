"""AP50 by hand, against plain numpy, and against pycocotools reading files."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lisa_mm.evaluation.average_precision import average_precision

from .random_samples import Case, cases


def plain_precision(rows: list[Case]) -> float:
    """COCO's AP50 without pycocotools: each mask takes the best free target of IoU 0.5 or more, precisions at 101 recalls."""
    hits: list[bool] = []
    for case in rows:
        free = {t for t, target in enumerate(case.targets) if target.any()}
        for mask in case.predicted[:100]:
            values = {t: (mask & (case.targets[t] > 0)).sum() / (mask | (case.targets[t] > 0)).sum() for t in free}
            best = max(values, key=lambda t: (values[t], t), default=None)
            hits.append(best is not None and values[best] >= 0.5)
            free -= {best} if hits[-1] else set()
    wanted = sum(bool(target.any()) for case in rows for target in case.targets)
    right = np.cumsum(hits)
    recalls, precisions = right / wanted, right / np.arange(1, len(hits) + 1)
    best_from = [precisions[recalls >= level - 1e-12].max(initial=0) for level in np.linspace(0, 1, 101)]
    return float(np.mean(best_from))


def run_lengths(rows: list[Case]) -> tuple[list[list[dict[str, Any]]], list[list[dict[str, Any]]]]:
    """Masks, and targets that have an area."""
    targets = [[m for m, area in zip(row.judged.target_masks, row.judged.targets, strict=True) if area] for row in rows]
    return [row.judged.masks for row in rows], targets


@pytest.mark.parametrize('seed', range(10))
def test_against_numpy(seed):
    rows = cases(np.random.default_rng(seed), 50, ignored=False)
    assert average_precision(*run_lengths(rows)) == pytest.approx(plain_precision(rows), abs=1e-9)


def test_against_files(tmp_path):
    """What another's program computes from COCO's files."""
    masks, targets = run_lengths(cases(np.random.default_rng(3), 60, ignored=False))
    results = [
        {'image_id': 100 + number, 'category_id': 1, 'segmentation': mask, 'score': 1.0}
        for number, own in enumerate(masks)
        for mask in own
    ]
    annotations = [
        {'image_id': 100 + number, 'category_id': 1, 'segmentation': mask, 'iscrowd': 0, 'area': 1}
        for number, own in enumerate(targets)
        for mask in own
    ]
    truth = {
        'info': {},
        'images': [{'id': 100 + number, 'height': 9, 'width': 12} for number in range(len(masks))],
        'annotations': [{'id': 1 + number, **annotation} for number, annotation in enumerate(annotations)],
        'categories': [{'id': 1, 'name': 'thing'}],
    }
    for name, content in (('truth.json', truth), ('results.json', results)):
        (tmp_path / name).write_text(json.dumps(content))
    with redirect_stdout(StringIO()):
        coco = COCO(str(tmp_path / 'truth.json'))
        evaluation = COCOeval(coco, coco.loadRes(str(tmp_path / 'results.json')), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    assert average_precision(masks, targets) == pytest.approx(evaluation.stats[1], abs=1e-12)


def rectangle(width: int) -> dict[str, Any]:
    """A mask of the first columns of 1 x 10 pixels."""
    counts = [0, width, 10 - width] if width else [10]
    found: Any = coco_mask.frPyObjects({'size': [1, 10], 'counts': counts}, 1, 10)  # type: ignore - the stubs know polygons only
    return {'size': [1, 10], 'counts': found['counts'].decode()}


def test_by_hand(capsys):
    """First image: a hit (4 of 5) and a miss; second image: a target without a mask. Precision 1 up to recall 1/2: 51 of 101."""
    found = average_precision([[rectangle(4), rectangle(0)], []], [[rectangle(5)], [rectangle(2)]])
    assert found == pytest.approx(51 / 101)
    # the miss comes first: precision 1/2 up to recall 1/2
    assert average_precision([[rectangle(0), rectangle(4)], []], [[rectangle(5)], [rectangle(2)]]) == pytest.approx(25.5 / 101)
    assert capsys.readouterr().out == ''


def test_nothing():
    assert average_precision([[rectangle(4)]], [[]]) is None
    assert average_precision([[]], [[rectangle(4)]]) == 0
    assert average_precision([], []) is None
