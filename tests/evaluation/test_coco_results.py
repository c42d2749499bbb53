"""pycocotools scores what is written, and gives AP50 as a second computation does."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from lisa_mm.errors import DataError
from lisa_mm.evaluation.average_precision import average_precision
from lisa_mm.evaluation.coco_results import write_coco_results
from lisa_mm.evaluation.judged import Judged, as_run_lengths, count

HEIGHT, WIDTH = 9, 13


def judged(number: int, predicted: np.ndarray, targets: np.ndarray, answer: str | None = 'It is [SEG].') -> Judged:
    """A question with masks (P, H, W) and (T, H, W), both bool."""
    masks, wanted = torch.from_numpy(predicted), torch.from_numpy(targets)
    return Judged(
        **dict(sample_id=f's/{number}.jpg', img_path=f'/data/{number}.jpg', row=1, turn=0, question='the cup', answer=answer),
        **dict(facts={}, size=(HEIGHT, WIDTH), **count(masks, wanted.to(torch.uint8))),
        **dict(masks=as_run_lengths(masks), target_masks=as_run_lengths(wanted)),
    )


def random_questions(rng: np.random.Generator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Predicted masks and targets: none, empty ones, copies, parts and overlaps of targets."""
    questions = []
    for _ in range(rng.integers(1, 6)):
        targets = rng.random((rng.integers(0, 4), HEIGHT, WIDTH)) < rng.choice([0.2, 0.5])
        targets[rng.random(len(targets)) < 0.2] = False
        predicted = []
        for _ in range(rng.integers(0, 5)):
            mask = rng.random((HEIGHT, WIDTH)) < 0.3
            if len(targets) and rng.random() < 0.8:
                mask = targets[rng.integers(len(targets))] ^ (rng.random((HEIGHT, WIDTH)) < rng.choice([0, 0.05, 0.2]))
            predicted.append(mask & (rng.random() > 0.1))
        questions.append((np.array(predicted, bool).reshape(-1, HEIGHT, WIDTH), targets))
    return questions


def second_computation(questions: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """AP at IoU 0.5 over masks of one score, in the order of the questions; -1 without targets."""
    hits, total = [], 0
    for predicted, targets in questions:
        left = [target for target in targets if target.any()]
        total += len(left)
        for mask in predicted:
            overlaps = [(mask & target).sum() / (mask | target).sum() for target in left]
            best = max(overlaps, default=0.0)
            hits.append(best >= 0.5)
            if hits[-1]:
                del left[len(overlaps) - 1 - overlaps[::-1].index(best)]  # of equal ones pycocotools takes the last
    if not total:
        return -1.0
    found = np.cumsum(hits) if hits else np.zeros(0)
    precision = found / np.arange(1, len(hits) + 1)
    recall = found / total
    return float(np.mean([max(precision[recall >= level], default=0.0) for level in np.linspace(0, 1, 101)]))


def test_ap50_of_pycocotools_equals_a_second_computation(tmp_path, capsys):
    seen = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        questions = random_questions(rng)
        if not any(len(predicted) for predicted, _ in questions):
            continue  # pycocotools can't load results without an entry
        path, truth = write_coco_results([judged(n, *pair) for n, pair in enumerate(questions)], tmp_path / 'results.json')
        known = COCO(str(truth))
        evaluation = COCOeval(known, known.loadRes(str(path)), 'segm')
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
        assert evaluation.stats[1] == pytest.approx(second_computation(questions), abs=1e-9), seed
        targets = [[mask for mask in masks if mask.any()] for _, masks in questions]
        ours = average_precision(
            *(
                [as_run_lengths(torch.from_numpy(np.array(m))) if len(m) else [] for m in side]
                for side in ([p for p, _ in questions], targets)
            )
        )
        assert evaluation.stats[1] == pytest.approx(-1 if ours is None else ours, abs=1e-9), seed
        seen.add(round(float(evaluation.stats[1]), 3))
    capsys.readouterr()
    assert len(seen) > 20


def test_each_question_is_an_image_of_its_own(tmp_path):
    one = np.zeros((1, HEIGHT, WIDTH), bool)
    one[0, 2:4, 3:8] = True
    nothing = np.zeros((0, HEIGHT, WIDTH), bool)
    path, truth = write_coco_results(
        [judged(7, np.concatenate([one, one]), one), judged(7, nothing, one & False, None), judged(8, one, one, None)],
        tmp_path / 'new' / 'coco.json',
    )
    assert (path.name, truth.name) == ('coco.json', 'coco_ground_truth.json')
    results, whole = json.loads(path.read_text()), json.loads(truth.read_text())
    key = {'sample_id': 's/7.jpg', 'row': 1, 'turn': 0}
    assert [{k: v for k, v in entry.items() if k != 'segmentation'} for entry in results] == [
        {'image_id': 1, 'category_id': 1, 'score': 1.0, **key, 'answer': 'It is [SEG].'},
        {'image_id': 1, 'category_id': 1, 'score': 1.0, **key, 'answer': 'It is [SEG].'},
        {'image_id': 3, 'category_id': 1, 'score': 1.0, **key, 'sample_id': 's/8.jpg'},
    ]
    assert [image['id'] for image in whole['images']] == [1, 2, 3]
    assert whole['images'][0] == {'id': 1, 'file_name': '7.jpg', 'height': 9, 'width': 13, **key, 'question': 'the cup'}
    boxes = [(a['id'], a['image_id'], a['area'], a['bbox']) for a in whole['annotations']]
    assert boxes == [(1, 1, 10, [3.0, 2.0, 5.0, 2.0]), (2, 3, 10, [3.0, 2.0, 5.0, 2.0])]


def test_questions_kept_without_masks(tmp_path):
    mask = np.ones((1, HEIGHT, WIDTH), bool)
    bare = Judged(**{**judged(1, mask, mask).to_json(), 'masks': None})
    with pytest.raises(DataError, match=r's/1\.jpg row 1 was kept without masks'):
        write_coco_results([bare], tmp_path / 'a.json')
