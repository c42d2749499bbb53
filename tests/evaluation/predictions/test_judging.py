"""Predictions made elsewhere give the counts that our own evaluation gives; each fault names the prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lisa_mm.datasets.masks import decode_mask
from lisa_mm.errors import ConfigError, DataError
from lisa_mm.evaluation import GeneralizedReferMetric, MultiTargetMetric, ReferIoUMetric, SegIoUMetric
from lisa_mm.evaluation.coco_results import write_coco_results
from lisa_mm.evaluation.judged import Judged, judge
from lisa_mm.evaluation.predictions import judge_predictions, read_predictions
from lisa_mm.evaluation.results import write_rows

from .scenes import BALL, COCO_NAME, CUP, HEIGHT, NOTHING, POT, WIDTH, Scenes, asks, box, record, rle, scenes


@pytest.fixture
def data(tmp_path):
    return scenes(tmp_path / 'data')


def results(tmp_path: Path, *entries: dict[str, Any]) -> Path:
    path = tmp_path / 'results.json'
    path.write_text(json.dumps([{'category_id': 1, 'score': 1.0, **entry} for entry in entries]))
    return path


def result(image: object, mask: np.ndarray, **other: Any) -> dict[str, Any]:
    return {'image_id': image, 'segmentation': rle(mask), **other}


def judged_of(path: Path, data: Scenes, **options: Any) -> tuple[list[Judged], list[str]]:
    notes: list[str] = []
    return judge_predictions(read_predictions(path), data, notes=notes, **options), notes


def joined(judged: list[Judged]) -> list[tuple[int, int]]:
    return [one.joined for one in judged]


EMPTY = [(0, 12), (0, 12), (0, 12), (0, 24), (0, 0), (0, 4), (0, 12)]  # of no prediction: the targets' areas


def test_a_question_without_prediction_counts_as_an_empty_mask_and_is_said(data, tmp_path):
    judged, notes = judged_of(results(tmp_path, result('empty.png', NOTHING)), data)
    assert [one.key for one in judged] == [
        (f'scenes/{COCO_NAME}', 0, 0),
        (f'scenes/{COCO_NAME}', 1, 0),
        ('scenes/blurred.png', 0, 0),
        ('scenes/table.png', 0, 1),
        ('scenes/empty.png', 0, 0),
        ('twice.png#0', 0, 0),
        ('twice.png#1', 0, 0),
    ]
    assert joined(judged) == EMPTY
    assert [one.answer for one in judged] == ['', '', '', '', '[SEG]', '', '']
    assert judged[1].facts == {'kind': 'long'}
    assert judged[0].question == 'the cup'
    assert notes == ['6 of 7 questions have no prediction: an empty mask counts for each']


def test_without_a_list_the_notes_are_logged(data, tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr('lisa_mm.evaluation.predictions.judging.print_log', lambda text, *more: logged.append(text))
    path = results(tmp_path, result('empty.png', NOTHING))
    judge_predictions(read_predictions(path), data)
    assert logged == [f'{path}, Scenes: 6 of 7 questions have no prediction: an empty mask counts for each']


def test_every_name_of_a_question(data, tmp_path):
    for name in (9, '9', COCO_NAME, COCO_NAME[:-4], f'scenes/{COCO_NAME}'):
        judged, _ = judged_of(results(tmp_path, result(name, CUP, row=0), result(name, POT, row=1)), data)
        assert joined(judged)[:2] == [(12, 12), (12, 12)], name
    for one, two in (
        ({'image_id': 'twice', 'row': 0}, {'image_id': 'twice', 'row': 1}),
        ({'image_id': 'twice.png#0'}, {'image_id': 'twice.png#1'}),
    ):
        judged, _ = judged_of(results(tmp_path, {**result(0, BALL), **one}, {**result(0, CUP), **two}), data)
        assert joined(judged)[5:] == [(4, 4), (12, 12)]
    judged, _ = judged_of(results(tmp_path, result(9, CUP, sample_id='scenes/table.png', row=0, turn=1)), data)
    assert joined(judged)[3] == (12, 24)


def test_several_masks_of_a_question_are_united_and_counted_one_by_one(data, tmp_path):
    judged, _ = judged_of(results(tmp_path, result('table', CUP), result('table', POT), result('table', BALL)), data)
    one = judged[3]
    assert one.joined == (24, 24)
    assert one.predicted == [12, 12, 4]
    assert one.intersections == [[12, 0], [0, 12], [4, 0]]
    assert one.answer == '[SEG] [SEG] [SEG]'


def test_polygons_and_ignored_pixels(data, tmp_path):
    """The target is 4 x 3 pixels (labelme's outline belongs to it); of the columns 5 to 7, rows 0 to 5 do not count."""
    whole = {'image_id': 'blurred', 'segmentation': [[0, 0, WIDTH, 0, WIDTH, HEIGHT, 0, HEIGHT]]}
    judged, _ = judged_of(results(tmp_path, whole), data)
    assert judged[2].joined == (12, HEIGHT * WIDTH - 3 * 6)
    assert judged[2].masks == [rle(box(0, 0, HEIGHT, WIDTH))]


def test_masks_are_kept_only_if_asked_for(data, tmp_path):
    path = results(tmp_path, result(9, CUP, row=0))
    kept, without = judged_of(path, data)[0][0], judged_of(path, data, keep_masks=False)[0][0]
    assert (kept.masks, kept.target_masks) == ([rle(CUP)], [rle(CUP)])
    assert (without.masks, without.target_masks) == (None, None)
    assert without.joined == kept.joined


@pytest.mark.parametrize(
    ('entry', 'said'),
    [
        ({'image_id': 'tabel.png'}, "entry 0: 'tabel.png' names no question of Scenes; near names: 'table.png'"),
        ({'image_id': 77}, f"'77' names no question of Scenes; its names are such as 'scenes/{COCO_NAME}', "),
        ({'image_id': 9}, r"there are 2 questions about '9'; a number \(row\) must say which, 0 to 1"),
        ({'image_id': 9, 'row': 2}, "there are 2 conversations about '9', the row is 2; 0 to 1 is allowed"),
        ({'image_id': 'table', 'turn': 0}, "row 0 of 'table' has targets in the turns 1, the turn is 0"),
        (
            {'image_id': 'empty', 'segmentation': rle(np.zeros((WIDTH, HEIGHT), bool))},
            r'the mask is \(8, 6\), the image \(6, 8\)',
        ),
        ({'image_id': 'empty', 'segmentation': [[0, 0, 9e5, 0, 9e5, 9]]}, 'entry 0: '),
    ],
)
def test_a_prediction_that_cannot_be_judged(data, tmp_path, entry, said):
    with pytest.raises(DataError, match=said):
        judged_of(results(tmp_path, {'segmentation': rle(CUP), **entry}), data)


def test_many_faults_are_counted(data, tmp_path):
    with pytest.raises(DataError, match=r'(?s)entry 4.*\.\.\. and 3 more') as caught:
        judged_of(results(tmp_path, *(result(f'lost{n}', CUP) for n in range(8))), data)
    assert 'entry 5' not in str(caught.value)


def test_one_name_of_two_images(tmp_path):
    data = Scenes([record(tmp_path / 'd', name, asks('it'), [CUP]) for name in ('a/1.png', 'b/1.png')])
    with pytest.raises(
        DataError, match=r"'1\.png' is the name of several images; give the name of the sample, such as 'scenes/a/1\.png'"
    ):
        judged_of(results(tmp_path, result('1.png', CUP)), data)
    judged, _ = judged_of(results(tmp_path, result('scenes/b/1.png', CUP)), data)
    assert joined(judged) == [(0, 12), (12, 12)]


def test_a_data_set_of_training_is_refused(data, tmp_path):
    path = results(tmp_path, result(9, CUP, row=0))
    with pytest.raises(ConfigError, match='test_mode=True'):
        judged_of(path, Scenes(data.records, test_mode=False))


# PNGs


def pngs(folder: Path, **masks: np.ndarray) -> Path:
    folder.mkdir()
    for name, mask in masks.items():
        Image.fromarray(mask).save(folder / f'{name}.png')
    return folder


def test_pngs_of_255_or_1_and_a_blank_one_is_no_mask(data, tmp_path):
    stem = COCO_NAME[:-4]
    masks = {f'{stem}_0': CUP * np.uint8(255), f'{stem}_1': POT * np.uint8(1), 'empty': NOTHING * np.uint8(255), 'twice_1': CUP}
    judged, notes = judged_of(pngs(tmp_path / 'p', **masks), data)
    assert joined(judged) == [(12, 12), (12, 12), (0, 12), (0, 24), (0, 0), (0, 4), (12, 12)]
    assert [one.answer for one in judged] == ['[SEG]', '[SEG]', '', '', '', '', '[SEG]']
    assert notes == [
        '3 of 7 questions have no prediction: an empty mask counts for each',
        'masks without a pixel: they say that nothing is there (1)',
    ]


@pytest.mark.parametrize(
    ('name', 'mask', 'said'),
    [
        ('table', CUP * np.uint8(7), r'table\.png holds the values 0, 7; 0 is background, 255 \(or 1\) is object'),
        ('table', CUP * np.uint8(254) + BALL, r'holds the values 0, 254, 255;'),
        ('table', np.arange(48, dtype=np.uint8).reshape(6, 8), r'holds the values 0, 1, 2, 3, 4, 5, \.\.\.;'),
        ('table', np.zeros((3, 4), np.uint8), r'table\.png: the mask is \(3, 4\), the image \(6, 8\)'),
        (COCO_NAME[:-4], CUP, 'there are 2 questions about'),
        (f'{COCO_NAME[:-4]}_2', CUP, 'the row is 2; 0 to 1 is allowed'),
        ('tabl', CUP, r"tabl\.png: 'tabl' names no question of Scenes; near names: 'table'"),
    ],
)
def test_a_png_that_cannot_be_judged(data, tmp_path, name, mask, said):
    with pytest.raises(DataError, match=said):
        judged_of(pngs(tmp_path / 'p', **{name: mask}), data)


def test_values_0_1_and_255_in_one_file_are_refused(data, tmp_path):
    with pytest.raises(DataError, match='holds the values 0, 1, 255'):
        judged_of(pngs(tmp_path / 'p', table=CUP * np.uint8(254) + box(0, 0, 4, 4)), data)


def test_two_pngs_of_one_question_and_one_of_two(tmp_path):
    data = Scenes([record(tmp_path / 'd', 'a.png', asks('it'), [CUP]), record(tmp_path / 'd', 'b.png', asks('x'), [CUP])])
    with pytest.raises(DataError, match=r"a\.png and .*a_0\.png are both about 'scenes/a\.png' row 0 \('it'\)\. Take one out"):
        judged_of(pngs(tmp_path / 'p', a=CUP, a_0=CUP), data)
    data = Scenes([record(tmp_path / 'd', name, asks('it'), [CUP]) for name in ('a.png', 'a_0.png')])
    with pytest.raises(
        DataError, match=r"a_0\.png names several questions: 'scenes/a\.png' row 0 .* and 'scenes/a_0\.png' row 0"
    ):
        judged_of(pngs(tmp_path / 'q', a_0=CUP), data)


# Seg-Zero


def output(tmp_path: Path, *entries: dict[str, Any]) -> Path:
    path = tmp_path / 'output_0.json'
    path.write_text(json.dumps([{'ann_id': 0, 'think': 'I see', 'bbox_iou': 0.0, **entry} for entry in entries]))
    return path


def test_counts_are_scored_and_said(data, tmp_path):
    entries = [
        {'image_id': 'empty', 'intersection': 0, 'union': 0},
        {'image_id': 'blurred', 'intersection': 10, 'union': 15},
        {'image_id': 'twice.png#0', 'intersection': 0, 'union': 4},  # the published programs' entry for a failure
        {'image_id': 'twice.png#1', 'intersection': 5, 'union': 8},  # its target is 12
    ]
    judged, notes = judged_of(output(tmp_path, *entries), data)
    assert joined(judged) == [(0, 12), (0, 12), (10, 15), (0, 24), (0, 0), (0, 4), (5, 8)]
    assert [one.predicted for one in judged] == [[], [], [13], [], [], [], [5]]
    assert [one.answer for one in judged] == ['', '', 'I see [SEG]', '', 'I see', 'I see', 'I see [SEG]']
    assert [one.pairs for one in judged] == [[pair] for pair in joined(judged)]
    assert all(one.masks is None for one in judged[4:])
    assert notes == [
        '3 of 7 questions have no prediction: an empty mask counts for each',
        '4 of 7 questions are scored from counts of pixels, for the file has no masks: on which targets is not known',
        '1 of 7 questions have counts that do not fit our target: theirs was another one (perhaps with its ignored pixels)',
    ]


def test_masks_of_seg_zero_are_judged(data, tmp_path):
    entry = {'image_id': 9, 'row': 1, 'segmentation': rle(POT), 'intersection': 1, 'union': 1}
    judged, notes = judged_of(output(tmp_path, entry), data)
    assert judged[1].joined == (12, 12)
    assert judged[1].answer == 'I see [SEG]'
    assert len(notes) == 1


def test_image_and_annotation_name_the_sample_of_a_parquet_file(tmp_path):
    rows = [{**record(tmp_path / 'd', f'{n}.png', asks('it'), [CUP]), 'sample_id': f'test.parquet#{n}/img/{n}'} for n in (3, 4)]
    path = output(tmp_path, {'image_id': 'img', 'ann_id': 4, 'intersection': 12, 'union': 12})
    judged, _ = judged_of(path, Scenes(rows))
    assert joined(judged) == [(0, 12), (12, 12)]


@pytest.mark.parametrize(
    ('entry', 'said'),
    [
        (
            {'image_id': 'table', 'intersection': 1, 'union': 2},
            'has one intersection and union, .* has 2 targets: masks are needed',
        ),
        ({'image_id': 'blurred', 'intersection': 0, 'union': 0}, 'the union is 0, but the target of .* has 12 pixels'),
        ({'image_id': 9, 'intersection': 0, 'union': 0}, r"image_id 9, ann_id 0\): there are 2 questions about '9'"),
        ({'image_id': 'ghost', 'intersection': 0, 'union': 0}, "'ghost/0' names no question"),
    ],
)
def test_counts_that_cannot_be_judged(data, tmp_path, entry, said):
    with pytest.raises(DataError, match=said):
        judged_of(output(tmp_path, entry), data)


def test_an_entry_that_is_there_twice(data, tmp_path):
    entry = {'image_id': 'blurred', 'intersection': 1, 'union': 12}
    with pytest.raises(DataError, match=r'entry 0 .* and .*entry 1 .* are both about'):
        judged_of(output(tmp_path, entry, entry), data)


# our own rows, there and back


def random_set(folder: Path, rng: np.random.Generator) -> tuple[Scenes, list[dict[str, Any]]]:
    """A data set, and data samples as a model with generated answers leaves them."""
    records, samples = [], []
    for n in range(3):
        counts = rng.integers(1, 4, size=rng.integers(1, 3)).tolist()
        said = [int(rng.integers(0, 4)) for _ in counts]
        targets = rng.random((sum(counts), HEIGHT, WIDTH)) < rng.choice([0, 0.3, 0.7], size=(sum(counts), 1, 1))
        masks = rng.random((sum(said), HEIGHT, WIDTH)) < rng.choice([0, 0.3, 0.9], size=(sum(said), 1, 1))
        rows = [[(f'<image>\nquestion {row}', ' '.join(['[SEG]'] * count))] for row, count in enumerate(counts)]
        made = record(folder, f'{n}.png', rows, list(targets))
        records.append(made)
        answers = [' '.join([str(rng.choice(['It is', '[REJ]', ''])), *['[SEG]'] * count]) for count in said]
        samples.append(
            {
                **{key: made[key] for key in ('sample_id', 'img_path', 'conversations')},
                **{'mask_counts': [[count] for count in counts], 'masks_said': said, 'answers': answers, 'facts': []},
                **{'gt_masks': torch.from_numpy(targets.astype(np.uint8)), 'masks': torch.from_numpy(masks)},
            }
        )
    return Scenes(records), samples


def figures(judged: list[Judged]) -> list[dict[str, float]]:
    metrics = SegIoUMetric(), ReferIoUMetric(), GeneralizedReferMetric(), MultiTargetMetric()
    return [metric.score(judged) for metric in metrics]


def test_own_rows_and_coco_results_give_the_same_figures(tmp_path):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        data, samples = random_set(tmp_path / 'd', rng)
        wanted = [one for sample in samples for one in judge(sample, keep_masks=True)]
        write_rows(wanted, tmp_path / 'rows.jsonl')
        again, notes = judged_of(tmp_path / 'rows.jsonl', data)
        assert again == wanted, seed
        assert not notes
        if not any(one.predicted for one in wanted):
            continue
        path, _ = write_coco_results(wanted, tmp_path / 'results.json')
        scored, notes = judged_of(path, data)
        missing = sum(not one.predicted for one in wanted)
        assert notes == (
            [f'{missing} of {len(wanted)} questions have no prediction: an empty mask counts for each'] if missing else []
        )
        assert [(one.key, one.joined, one.intersections, one.unions, one.masks) for one in scored] == [
            (one.key, one.joined, one.intersections, one.unions, one.masks) for one in wanted
        ], seed
        assert [one.answer for one in scored if one.predicted] == [one.answer for one in wanted if one.predicted]
        assert figures(scored) == figures(wanted)


def test_rows_of_answers_that_were_given(data, tmp_path):
    """Mask k belongs to target k, in our rows as in an evaluation of the given answer."""
    wanted = []
    for n in range(len(data)):
        entry = data.records[n]
        targets = np.stack([decode_mask(mask, HEIGHT, WIDTH, '') for mask in entry['masks']])
        sample = {key: entry[key] for key in ('sample_id', 'img_path', 'conversations')} | {'facts': entry.get('facts')}
        counts = [[answer.count('[SEG]') for _, answer in row] for row in entry['conversations']]
        masks = torch.from_numpy(np.stack([CUP, BALL][: len(targets)]))
        sample |= {'mask_counts': counts, 'gt_masks': torch.from_numpy(targets), 'masks': masks}
        wanted += judge(sample, keep_masks=True)
    write_rows(wanted, tmp_path / 'rows.jsonl')
    again, _ = judged_of(tmp_path, data)
    assert again == wanted
    assert again[3].answer is None
    assert again[3].pairs == [(12, 12), (0, 16)]
    short = [one if one.sample_id != 'scenes/table.png' else Judged(**{**one.to_json(), 'masks': [rle(CUP)]}) for one in wanted]
    write_rows(short, tmp_path / 'rows.jsonl')
    with pytest.raises(DataError, match='each target has a mask; there are 1 masks and 2 targets'):
        judged_of(tmp_path, data)
