"""check and inference read images as the pipeline of training does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmengine.config import Config
from PIL import Image

from lisa_mm.apis.answers import Answer
from lisa_mm.apis.asking import read_image
from lisa_mm.apis.loading import loader_of_config
from lisa_mm.apis.saving import save_answer
from lisa_mm.config import load_config
from lisa_mm.datasets.transforms import LoadImage, image_loader
from lisa_mm.doctor import check
from lisa_mm.doctor.sets import datasets_with_pipelines
from lisa_mm.errors import DataError
from lisa_mm.registry import TRANSFORMS

from ..datasets.image_files import deep, grey, save

CONFIG = 'configs/lisa/lisa_my_data.py'
SQUARE = [[2, 2], [20, 2], [20, 20], [2, 20]]


def write_rows(root, **images: np.ndarray) -> None:
    """A train and a val file with one row for each image."""
    for name, pixels in images.items():
        save(root / f'{name}.tif', pixels)
    save(root / 'v.png', grey())
    rows = [{'image': f'{name}.tif', 'phrase': 'the spot', 'masks': [SQUARE]} for name in images]
    (root / 'train.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    (root / 'val.jsonl').write_text(json.dumps({'image': 'v.png', 'phrase': 'the spot', 'masks': [SQUARE]}))


def problems(root, *options: str) -> list[tuple[str, str, str]]:
    found = check(load_config(CONFIG, options=[f'data_root={root}', *options]), workers=2)
    return [(finding.level, finding.record, finding.problem) for finding in found]


def test_check_reads_with_the_range_of_the_pipeline(tmp_path):
    write_rows(tmp_path, dark=deep(4096), floats=deep(4096).astype(np.float32))
    (note_level, dark, dim), (error_level, floats, refused) = problems(tmp_path)
    assert (note_level, dark, error_level, floats) == ('note', 'dark.tif', 'error', 'floats.tif')
    assert 'the values 0 to 4095 occur' in dim and 'set value_range' in refused
    assert problems(tmp_path, 'train_dataloader.dataset.pipeline.0.value_range=0,4095') == []


def test_check_notes_what_a_file_hides(tmp_path):
    write_rows(tmp_path, plain=grey())
    image = Image.fromarray(grey())
    save(tmp_path / 'plain.tif', image, save_all=True, append_images=[image])
    mask = np.zeros(grey().shape, np.uint8)
    mask[2:9, 2:9], mask[0, 0] = 255, 4
    save(tmp_path / 'mask.png', mask)
    save(tmp_path / 'mask.jpg', mask)
    row = {'image': 'plain.tif', 'question': 'where is it?', 'masks': ['mask.png']}
    (tmp_path / 'train.jsonl').write_text(json.dumps(row))
    pages, faint = problems(tmp_path)
    assert pages[0] == faint[0] == 'note'
    assert 'holds 2 images (TIFF), of which the first is read' in pages[2]
    assert 'mask.png holds 3 values up to 255' in faint[2]
    (tmp_path / 'train.jsonl').write_text(json.dumps({**row, 'masks': ['mask.jpg']}))
    lossy = problems(tmp_path)[-1]
    assert lossy[0] == 'error' and 'mask.jpg is JPEG, which alters values near edges' in lossy[2]


def test_without_a_model_check_says_what_it_leaves_out(tmp_path):
    write_rows(tmp_path, plain=grey())
    dataset = dict(type='JsonlSegDataset', file='train.jsonl', data_root=str(tmp_path))
    found = check(Config(dict(train_dataloader=dict(dataset=dataset))))
    assert [finding.level for finding in found] == ['note']
    assert 'not checked: the config has no model' in found[0].problem


def test_members_of_a_mixture_have_its_pipeline():
    member = dict(type='JsonlSegDataset', file='a.jsonl')
    steps = [dict(type='LoadImage', value_range=[0, 4095])]
    mixture = dict(type='MixtureDataset', datasets=dict(vqa=[member]), exclude_val=[dict(member, file='b.jsonl')], pipeline=steps)
    own = dict(member, pipeline=[dict(type='LoadImage')])
    config = Config(dict(train_dataloader=dict(dataset=mixture), val_dataloader=dict(dataset=own)))
    found = [(split, entry['file'], pipeline) for split, entry, pipeline in datasets_with_pipelines(config)]
    assert found == [('train', 'a.jsonl', steps), ('val', 'b.jsonl', steps), ('val', 'a.jsonl', own['pipeline'])]


def test_inference_reads_as_the_pipeline(tmp_path):
    config = Config(dict(val_dataloader=dict(dataset=dict(pipeline=[dict(type='LoadImage', value_range=(0, 4095))]))))
    load = loader_of_config(config)
    path = save(tmp_path / 'a.tif', deep(4096).astype(np.float32))
    wanted = LoadImage((0, 4095)).transform({'img_path': str(path), 'sample_id': 'a'})['img']
    assert wanted.max() > 250
    assert np.array_equal(read_image(path, load)['img'], wanted)
    with Image.open(path) as image:
        assert np.array_equal(read_image(image, load)['img'], wanted)
        with pytest.raises(DataError, match='the given image holds floats from'):
            read_image(image)
    nothing = np.zeros((0, *wanted.shape[:2]), bool)
    answer = Answer('', nothing, nothing.astype(float), image=read_image(path, load)['img'], name=str(path))
    with Image.open(save_answer(answer, tmp_path / 'out')[-1]) as overlay:
        assert np.array_equal(np.array(overlay), wanted)


class _Inverted(BaseTransform):
    """A reader of one's own."""

    gives = ('img', 'original_size')

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        with Image.open(results['img_path']) as image:
            pixels = 255 - np.array(image.convert('RGB'))
        return {**results, 'img': pixels, 'original_size': pixels.shape[:2]}


def test_a_reader_of_ones_own_takes_the_place(tmp_path):
    TRANSFORMS.register_module('_Inverted', module=_Inverted, force=True)
    load = image_loader([dict(type='Unknown'), dict(type='DecodeMasks'), dict(type='_Inverted')])
    path = save(tmp_path / 'a.png', grey())
    assert np.array_equal(read_image(path, load)['img'][..., 0], 255 - grey())
    built = LoadImage((0, 1))
    assert image_loader([built]) is built
    assert isinstance(image_loader([]), LoadImage)
