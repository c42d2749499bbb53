"""The examples of docs/score_predictions.md are read and judged as the page says; its Python runs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lisa_mm.datasets import ReferSegDataset
from lisa_mm.datasets.images import image_size
from lisa_mm.datasets.masks import decode_mask
from lisa_mm.evaluation.predictions import judge_predictions, read_predictions
from lisa_mm.evaluation.predictions.entries import COCO, OWN, SEG_ZERO
from lisa_mm.evaluation.predictions.questions import Questions

from .datasets.golden_root import GOLDEN
from .evaluation.predictions.scenes import COCO_NAME, CUP, POT, Scenes, asks, record, rle

PAGE = (Path(__file__).parents[1] / 'docs' / 'score_predictions.md').read_text(encoding='utf-8')
JSON = re.findall(r'```json\n(.*?)```', PAGE, flags=re.S)
PYTHON = re.findall(r'```python\n(.*?)```', PAGE, flags=re.S)


@pytest.mark.parametrize(
    ('number', 'name', 'kind', 'pairs'),
    [
        (0, 'results.json', COCO, [(12, 12), (12, 13), (0, 12)]),  # the triangle has a pixel, outside of the pot
        (1, 'output_0.json', SEG_ZERO, [(0, 12), (0, 12), (11, 14)]),
        (2, 'rows.jsonl', OWN, [(0, 12), (0, 12), (12, 12)]),
    ],
)
def test_an_example(tmp_path, number, name, kind, pairs):
    assert len(JSON) == 3
    cup = {**record(tmp_path / 'd', 'cup.jpg', asks('the cup'), [CUP]), 'sample_id': 'cup.jpg'}
    data = Scenes([record(tmp_path / 'd', COCO_NAME, asks('the cup', 'the pot'), [CUP, POT]), cup])
    (tmp_path / name).write_text(JSON[number])
    predictions = read_predictions(tmp_path / name)
    assert predictions.kind == kind
    assert not predictions.notes
    assert [one.joined for one in judge_predictions(predictions, data, notes=[])] == pairs


def test_the_python(tmp_path, monkeypatch, capsys):
    assert len(PYTHON) == 3
    (tmp_path / 'dataset').symlink_to(GOLDEN)
    monkeypatch.chdir(tmp_path)
    entries = []
    for asked in Questions(ReferSegDataset('dataset', name='refcoco', split='val', test_mode=True)).all:
        height, width = image_size(asked.img_path)
        mask = np.asarray(decode_mask(asked.targets[0], height, width, '')) == 1
        number = int(re.findall(r'\d+', asked.img_path)[-1])
        if mask.any():  # to pycocotools a mask without a pixel is a detection that hits nothing
            entry = {'image_id': number, 'row': asked.row, 'category_id': 1, 'segmentation': rle(mask), 'score': 1.0}
            entries.append(entry)
    (tmp_path / 'predictions.json').write_text(json.dumps(entries))
    names: dict[str, object] = {}
    for code in PYTHON:
        exec(code, names)
    said = capsys.readouterr().out
    assert "'gIoU': 0.99" in said
    assert 'refcoco/COCO_train2014_' in said
    assert re.search(r'IoU=0\.50 +\| area= +all \| maxDets=100 \] = 1\.000', said)
