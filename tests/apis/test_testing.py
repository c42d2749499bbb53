"""The controls beside an evaluation."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from lisa_mm.apis.testing import blind_pairs, score
from lisa_mm.datasets import JsonlSegDataset


def test_controls_score_every_mask_that_the_model_is_asked_for(tmp_path):
    Image.fromarray(np.zeros((60, 80, 3), np.uint8)).save(tmp_path / '0.png')
    square = [[10, 10], [60, 10], [60, 50], [10, 50]]
    two = {'image': '0.png', 'question': 'q', 'answer': 'A [SEG] and B [SEG].', 'masks': [square, []]}
    rows = [two, {'question': 'What is 7?', 'answer': 'A number.'}, two]
    (tmp_path / 'val.jsonl').write_text(''.join(json.dumps(row) + '\n' for row in rows))
    pairs = list(blind_pairs(JsonlSegDataset(str(tmp_path), file='val.jsonl', test_mode=True)))
    assert len(pairs) == 4
    assert all(union is None for _, union in pairs)
    # an empty mask is right where nothing is
    assert score([empty for empty, _ in pairs])['gIoU'] == pytest.approx(0.5, abs=1e-5)
