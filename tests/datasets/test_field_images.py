"""Images as people had them: each case in tests/field gives what its README calls right."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from lisa_mm.config import load_config
from lisa_mm.datasets.images import read_image
from lisa_mm.doctor import check
from lisa_mm.testing.check_data import run_data_steps

FIELD = Path(__file__).parents[1] / 'field'


def findings(case: str) -> dict[str, tuple[str, str]]:
    """Image -> level and problem."""
    found = check(load_config('configs/lisa/lisa_my_data.py', options=[f'data_root={FIELD / case}']))
    return {Path(finding.file).name: (finding.level, finding.problem) for finding in found}


def test_images_of_16_bits_and_floats():
    """Scaled to 8 bits as cv2.imread does, or refused."""
    folder = FIELD / 'image_16bit' / 'images'
    for name, levels in (('ct.png', 64), ('ct12.tif', 16)):
        stored = cv2.imread(str(folder / name), cv2.IMREAD_UNCHANGED)
        assert stored is not None and stored.dtype == np.uint16
        read = read_image(folder / name)
        assert np.array_equal(read, (np.asarray(stored) // 256).astype(np.uint8)[..., None].repeat(3, axis=2))
        assert len(np.unique(read)) == levels
    found = findings('image_16bit')
    assert set(found) == {'ct12.tif', 'float.tif'}
    assert found['ct12.tif'][0] == 'note' and 'value_range' in found['ct12.tif'][1]
    assert found['float.tif'][0] == 'error' and 'holds floats from 0 to 1' in found['float.tif'][1]


def test_a_thin_image_trains(tmp_path):
    assert findings('thin_image') == {}
    part = dict(type='JsonlSegDataset', data_root=str(FIELD / 'thin_image'), file='train.jsonl')
    assert run_data_steps(part, tmp_path)[-1] == 'step'


def test_a_png_is_read_as_a_jpg():
    path = FIELD / 'png_images' / 'reason_seg' / 'ReasonSeg' / 'train' / 'scan_1.png'
    assert np.array_equal(read_image(path), cv2.imread(str(path))[..., ::-1])  # pyright: ignore[reportOptionalSubscript] - it is there
