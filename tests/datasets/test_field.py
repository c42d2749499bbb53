"""Files that users brought, each with its README: what it says is right is what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from lisa_mm.datasets import JsonlSegDataset, ReasonSegDataset, ReferSegDataset, VQADataset
from lisa_mm.datasets.transforms import DecodeMasks, LoadImage
from lisa_mm.errors import DataError

FIELD = Path(__file__).parents[1] / 'field'
STEPS = [LoadImage(), DecodeMasks()]


def areas(dataset):
    """Name of a record -> area of its mask."""
    samples = (dataset[n] for n in range(len(dataset)))
    return {sample['sample_id']: int((sample['gt_masks'] == 1).sum()) for sample in samples}


def reason_seg(case, **options):
    return ReasonSegDataset(
        str(FIELD / case / 'reason_seg').removesuffix('/reason_seg'), test_mode=True, pipeline=STEPS, **options
    )


def llava(name):
    return VQADataset(str(FIELD / 'llava_rows'), file=name, image_folder='images', test_mode=True, pipeline=STEPS)


def test_bitmap_mask():
    assert areas(JsonlSegDataset(str(FIELD / 'bitmap_mask'), test_mode=True, pipeline=STEPS)) == {'images/0.jpg#0': 1296}


def test_bom_json():
    dataset = reason_seg('bom_json')
    assert len(dataset) == 2
    assert all(area > 1000 for area in areas(dataset).values())
    assert not dataset.notes


def test_duplicate_ids():
    with pytest.raises(DataError) as error:
        ReferSegDataset(str(FIELD / 'duplicate_ids'), name='refcoco')
    text = str(error.value)
    assert "images 0 and 1 of the file have the same id 1 but differ: file_name is 'a.jpg' and 'b.jpg'" in text
    assert 'annotations 0 and 1 of the file have the same id 1 but differ: segmentation is' in text
    assert 'instances.json' in text


def test_gbk_json():
    with pytest.raises(DataError, match=r'a\.json is not in UTF-8 .* likely gb18030 \(a text would be "[\u4e00-\u9fff]+'):
        reason_seg('gbk_json')
    question = reason_seg('gbk_json', encoding='gbk')[0]['conversations'][0][0][0]
    assert any('\u4e00' <= letter <= '\u9fff' for letter in question)


def test_labelme_shape_types():
    found = areas(reason_seg('labelme_shape_types'))
    assert found['train/poly.json'] == found['train/rect.json'] == 1296
    assert 300 <= found['train/circle.json'] <= 350  # a circle of radius 10
    assert 450 <= found['train/aimask.json'] <= 600


def test_llava_rows():
    assert llava('empty_image.json').get_data_info(0)['img_path'] is None
    assert llava('image_list.json').get_data_info(0)['img_path'].endswith('1.jpg')
    assert len(llava('lines.jsonl')) == 2
    assert llava('system.json')[0]['systems'] == ['You are a radiologist.']
    for name, message in (
        ('images_sharegpt.json', 'conversations is missing; .* one image per row is supported, in the field image'),
        ('no_human_end.json', 'gpt must end it'),
        ('seg_lower.json', r'0 \[SEG\] in its answers but 1 masks'),
        ('seg_in_question.json', r"the question .*What is \[SEG\] here\?' holds \[SEG\], which only answers may"),
        ('two_gpt.json', 'must alternate'),
    ):
        with pytest.raises(DataError, match=message):
            llava(name)


def test_nan_polygon_eats_memory():
    message = r'train.jsonl: line 1: masks\[0\]\[1\]\[0\] is nan; a finite number is needed'
    with pytest.raises(DataError, match=message):
        JsonlSegDataset(str(FIELD / 'nan_polygon_eats_memory'))


def test_normalised_points():
    with pytest.raises(DataError, match=r'norm.json: .*lie in 0..1.*multiply x by the width'):
        reason_seg('normalised_points')


def test_png_images():
    assert areas(reason_seg('png_images'))['train/scan_1.json'] == 1296


def test_text_is_a_string():
    with pytest.raises(DataError) as error:
        reason_seg('text_is_a_string')
    assert "en1.json: text is 'cup'; a list is needed" in str(error.value)
    assert "zh.json: text is '请找出图中的红色杯子'; a list is needed" in str(error.value)
