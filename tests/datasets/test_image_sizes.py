"""Images of every size become the model's inputs, or are refused with the reason, in check as in training."""

from __future__ import annotations

import numpy as np
import pytest
from segment_anything.utils.transforms import ResizeLongestSide

from lisa_mm.datasets.images import MAX_PIXELS
from lisa_mm.datasets.processor import check_size
from lisa_mm.datasets.transforms import ResizeForMaskDecoder, ResizeForVisionTower
from lisa_mm.doctor.image_steps import ImageSteps
from lisa_mm.errors import DataError
from lisa_mm.registry import MLLMS

from ..models.families import whole_model
from .image_files import save

SIZES = [(1, 1), (1, 3), (3, 2000), (2000, 3), (1, 5000), (2, 2)]
CROP = dict(size={'shortest_edge': 28}, crop_size={'height': 28, 'width': 28}, do_center_crop=True)
SQUARE = dict(size={'height': 28, 'width': 28}, crop_size={'height': 28, 'width': 28}, do_center_crop=False)


def pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('resize', ['longest_side', 'squash'])
def test_the_mask_decoder_takes_every_size(size, resize):
    results = ResizeForMaskDecoder(dict(image_size=64, resize=resize)).transform({'img': pixels(*size)})
    height, width = results['resized_size']
    assert min(height, width) >= 1 and max(height, width) == 64
    assert results['mask_image'].shape == (3, 64, 64)
    assert results['mask_image'][:, :height, :width].any()


def test_ordinary_sizes_are_as_in_segment_anything():
    rng = np.random.default_rng(1)
    for side in (64, 192, 1024):
        ours, theirs = ResizeForMaskDecoder(dict(image_size=side, resize='longest_side')), ResizeLongestSide(side)
        for _ in range(10):
            image = pixels(*rng.integers(20, 500, 2))
            wanted = theirs.apply_image(image)
            results = ours.transform({'img': image})
            height, width = results['resized_size']
            assert np.array_equal(results['mask_image'][:, :height, :width].transpose(1, 2, 0), wanted)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('spec', [CROP, SQUARE], ids=['crop', 'square'])
def test_a_vision_tower_takes_every_size(size, spec):
    assert ResizeForVisionTower(spec).transform({'img': pixels(*size), 'sample_id': 'a'})['pixel_values'].shape == (3, 28, 28)


def test_what_a_tower_would_blow_up_is_refused():
    longest = MAX_PIXELS // 28**2
    step = ResizeForVisionTower(CROP)
    for size in ((1, longest + 1), (longest + 1, 1)):
        with pytest.raises(DataError, match=r'a\.png:.*x .* pixels .*before its middle is cut out.*with its masks') as raised:
            step({'img': np.zeros((*size, 3), np.uint8), 'img_path': 'a.png', 'sample_id': 'a.png'})
        assert (raised.value.file, raised.value.record) == ('a.png', 'a.png')
    check_size(step.processor, 1, longest)
    check_size(ResizeForVisionTower(SQUARE).processor, 1, 10**9)


def test_the_limit_of_a_processor_is_found_by_check(tmp_path):
    """Qwen's processor refuses what is more than 200 times as long as wide."""
    with_folder = whole_model('qwen2_5_vl', tmp_path)
    spec = MLLMS.build(with_folder).preprocess
    pipeline = [dict(type='LoadImage'), dict(type='ResizeForVisionTower', vision_preprocess=spec)]
    thin, other = (save(tmp_path / name, pixels(3, 2000)) for name in ('thin.png', 'other.png'))
    good = save(tmp_path / 'good.png', pixels(30, 40))
    steps = ImageSteps(pipeline)
    for path, name in ((thin, 'row 1'), (other, 'row 2')):
        with pytest.raises(DataError, match=r'3 x 2000 pixels.*processor refuses.*200') as raised:
            steps.run(str(path), name)
        assert (raised.value.file, raised.value.record) == (str(path), name)
    assert steps.run(str(good), 'row 3') == (30, 40, [])
    step = ResizeForVisionTower(spec)
    with pytest.raises(DataError, match='processor refuses'):
        step({'img': pixels(3, 2000), 'sample_id': 'row 1'})
    assert step.transform({'img': pixels(30, 40), 'sample_id': 'row 3'})['image_ids']
