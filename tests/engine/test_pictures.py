"""The pictures of a run: which are drawn, and how."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import fake_runner, size_of
from PIL import Image

from lisa_mm.engine.hooks.pictures_hook import PicturesHook, draw_sample, mask_questions
from lisa_mm.structures import SegDataSample
from lisa_mm.visualization import TRUE_COLOR, contact_sheet, short_question


def predicted_sample(folder: Path, *, masks: int = 1, name: str = 'a') -> SegDataSample:
    path = folder / f'{name}.png'
    Image.fromarray(np.full((20, 30, 3), 200, dtype=np.uint8)).save(path)
    target = torch.zeros(masks, 20, 30, dtype=torch.uint8)
    target[:, 5:15, :10] = 1
    logits = torch.full((masks, 20, 30), -1.0)
    logits[:, 5:15, 5:10] = 1.0
    turns = [[('<image>\n What is left of the $5 note in this image? Please output segmentation mask.', '[SEG].')]] * masks
    sample = SegDataSample(metainfo={'sample_id': name, 'img_path': str(path), 'conversations': turns})
    sample.set_data({'gt_masks': target, 'mask_logits': logits})
    return sample


def test_pictures_of_validation_and_test(tmp_path):
    hook, runner = PicturesHook(num_images=3, interval=2), fake_runner(tmp_path, iteration=40)
    first, second = predicted_sample(tmp_path), predicted_sample(tmp_path, masks=2, name='b')
    for iteration in (40, 50, 60):
        runner.iter = iteration
        hook.before_val_epoch(runner)
        for batch in range(3):
            hook.after_val_iter(runner, batch, outputs=[first, predicted_sample(tmp_path, masks=0), second])
        captions = [caption for _, caption in hook._items]
        hook.after_val_epoch(runner, {})
        if iteration == 40:
            # IoU = 50 / 100 pixels
            assert captions[0] == 'IoU 0.500\nWhat is left of the $5 note in this image?'
            assert captions[1].startswith('IoU 0.500 (mask 1 of 2)\n')
            assert len(captions) == 3
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, outputs=[first])
    hook.after_test_epoch(runner, {})
    runner.is_training = False
    del runner.iter
    hook = PicturesHook()
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=[first])
    hook.after_val_epoch(runner, {})
    written = sorted((tmp_path / 'pictures').iterdir())
    assert [path.name for path in written] == ['iter_40.png', 'iter_60.png', 'test.png', 'val.png']
    assert all(size_of(path) > (100, 100) for path in written)
    assert str(tmp_path / 'pictures' / 'test.png') in ''.join(runner.log.messages)


def test_pictures_are_read_as_in_the_pipeline(tmp_path):
    hook, runner = PicturesHook(), fake_runner(tmp_path)
    runner.cfg = {'val_dataloader': {'dataset': {'pipeline': [{'type': 'LoadImage', 'value_range': (0, 1)}]}}}
    sample = predicted_sample(tmp_path)
    path = tmp_path / 'floats.tif'
    Image.fromarray(np.full((20, 30), 0.5, np.float32)).save(path)
    sample.set_metainfo({'img_path': str(path)})
    hook.before_val_epoch(runner)
    hook.after_val_iter(runner, 0, outputs=[sample])
    assert hook._items[0][0][19, 29].tolist() == [128, 128, 128]


@pytest.mark.parametrize('color', [(230, 30, 40), (0, 220, 60), (0, 0, 0), (255, 255, 255)])
def test_both_masks_are_seen_on_an_object_of_any_colour(tmp_path, color):
    sample = predicted_sample(tmp_path)
    Image.fromarray(np.full((20, 30, 3), color, np.uint8)).save(sample.img_path)
    drawn = draw_sample(sample)[0].astype(int)
    inside, outside = drawn[9, 7], drawn[0, 29]
    assert outside.tolist() == list(color)
    assert np.abs(inside - outside).sum() > 100
    # the true mask's border: green within, a dark line around
    assert drawn[9, 9].tolist() == list(TRUE_COLOR)
    assert drawn[9, 10].max() < 20


def test_no_samples_no_sheet(tmp_path):
    for rank in (0, 1):
        hook, runner = PicturesHook(), fake_runner(tmp_path, rank=rank)
        hook.before_val_epoch(runner)
        hook.after_val_iter(runner, 0, outputs=[predicted_sample(tmp_path, masks=rank)])
        hook.after_val_epoch(runner, {})
        assert runner.log.messages == []
    assert not (tmp_path / 'pictures').exists()


def test_questions_go_with_their_masks():
    rows = [[('a', 'no'), ('b', '[SEG] and [SEG]')], [('c', None)], [('d', '[SEG].')]]
    assert mask_questions(rows) == ['b', 'b', 'd']
    assert short_question('<image>\n Who? Please output segmentation mask and explain why.') == 'Who?'
    assert short_question('Please output segmentation mask.') == 'Please output segmentation mask.'


def test_a_sheet_with_any_caption(tmp_path):
    items = [(np.zeros((10, 40, 3), dtype=np.uint8), text) for text in ('$x_1 $', '', '猫はどこですか', 'long word ' * 60, 'a')]
    path = contact_sheet(items, tmp_path / 'new' / 'sheet.png', title='$')
    assert size_of(path) > (100, 100)
    with pytest.raises(ValueError, match='no pictures'):
        contact_sheet([], tmp_path / 'none.png')


def test_a_tall_picture_makes_its_own_row_higher_alone(tmp_path):
    wide, tall = (np.zeros((30, 90, 3), np.uint8), 'a'), (np.zeros((90, 60, 3), np.uint8), 'a')
    heights = []
    for row in ([wide] * 4, [tall] + [wide] * 3, [tall] * 4):
        with Image.open(contact_sheet([*row, *[wide] * 4], tmp_path / 'sheet.png')) as sheet:
            heights.append(sheet.height)
    assert heights[1] == heights[2]
    with Image.open(contact_sheet([tall] * 8, tmp_path / 'sheet.png')) as sheet:
        assert sheet.height - heights[2] == pytest.approx(heights[2] - heights[0], abs=2)
