"""Rows about what is there and what is not, for the nano parts that look."""

from __future__ import annotations

import pytest

from lisa_mm.datasets import JsonlSegDataset
from projects.nano.demo.kinds import HELD_OUT
from projects.nano.demo.looking import looking_rows
from projects.nano.demo.recorded import SEED
from projects.nano.demo.scenes import draw_scene
from projects.nano.demo.writer import write_demo


@pytest.fixture(scope='module')
def scenes():
    return [draw_scene(SEED, 'pretrain', index) for index in range(12)]


def test_every_answer_is_true(scenes):
    forms = set()
    for scene in scenes:
        there = {(o.colour, o.kind) for o in scene.objects}
        colours, kinds = (sorted(group) for group in zip(*there, strict=True))
        for row in looking_rows(scene, SEED, 'a.jpg'):
            if 'question' not in row:
                continue
            words, answer = row['question'].rstrip('?').split(), row['answer'].rstrip('.')
            assert row['masks'] == []
            if words[:2] == ['What', 'colour']:
                assert answer == 'none' if words[-1] not in kinds else (answer, words[-1]) in there
            elif words[0] == 'What':
                assert answer == 'nothing' if words[-1] not in colours else (words[-1], answer.removeprefix('the ')) in there
            else:
                assert answer == ('yes' if tuple(words[-2:]) in there else 'no')
            forms.add((words[1], answer if answer in ('none', 'nothing', 'yes', 'no') else 'named'))
    assert forms == {
        ('colour', 'named'),
        ('colour', 'none'),
        ('is', 'named'),
        ('is', 'nothing'),
        ('there', 'yes'),
        ('there', 'no'),
    }


def test_half_of_the_phrases_name_what_is_not_there(scenes):
    for scene in scenes:
        rows = [row for row in looking_rows(scene, SEED, 'a.jpg') if 'phrase' in row]
        true, false = ([row['phrase'] for row in rows if bool(row['masks']) == there] for there in (True, False))
        assert len(true) == len(scene.objects) == len(false)
        for phrase in false:
            words = phrase.split()[1:]
            assert not any(set(words) <= {o.size, o.colour, o.kind} for o in scene.objects)


def test_no_row_names_a_held_out_combination(scenes):
    for scene in scenes:
        for row in looking_rows(scene, SEED, 'a.jpg'):
            words = set(row.get('phrase', row.get('question', '')).rstrip('?').split())
            assert not any({kind, colour} <= words for kind, colour in HELD_OUT.items())


def test_they_are_written_and_read(tmp_path):
    root = write_demo(tmp_path / 'demo', splits=(), pretrain_scenes=2, pretrain_val_scenes=1, num_workers=1) / 'pretrain'
    data = JsonlSegDataset(str(root), file='looking.jsonl', rejection='[REJ]', phrases_per_image=50, questions_per_image=50)
    assert len(data) == 2
    answers = [answer for turns in data[0]['conversations'] for _, answer in turns]
    rejected = sum('[REJ]' in answer for answer in answers)
    assert rejected == sum('[SEG]' in answer for answer in answers) == len(data[0]['encoded_masks'])
    assert len(JsonlSegDataset(str(root), file='looking_val.jsonl', test_mode=True)) >= 12
    written = sorted(path.name for path in root.glob('*.jsonl'))
    assert written == ['looking.jsonl', 'looking_val.jsonl', 'train.jsonl', 'val.jsonl']


def test_a_folder_from_before_is_written_anew(tmp_path):
    options = dict(splits=(), pretrain_scenes=1, pretrain_val_scenes=1, num_workers=1)
    root = write_demo(tmp_path / 'demo', **options) / 'pretrain'
    (root / 'looking.jsonl').unlink()
    write_demo(tmp_path / 'demo', **options)
    assert (root / 'looking.jsonl').is_file()
