"""The questions of a run over many images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa_mm.apis.tasks import Task, check_tasks, key_of, tasks_of_file, tasks_of_folder
from lisa_mm.errors import DataError, UserError
from lisa_mm.models.decoding import AnswerOptions

from .test_asking import SPEC
from .tiny_model import write_images


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / 'photos', 'a.png', 'b.jpg', 'x/a.png')


def rows(folder: Path, *lines: object) -> Path:
    path = folder / 'questions.jsonl'
    path.write_text(''.join((line if isinstance(line, str) else json.dumps(line)) + '\n' for line in lines), encoding='utf-8')
    return path


def test_a_folder_with_its_subfolders(folder):
    (folder / 'notes.txt').write_text('no image')
    assert [task.image for task in tasks_of_folder(folder, 'the cup')] == ['a.png', 'b.jpg', 'x/a.png']


def test_the_answers_inside_the_folder_are_no_images(folder):
    write_images(folder, 'answers/a_overlay.png')
    assert len(tasks_of_folder(folder, 'the cup', leave_out=folder / 'answers')) == 3
    assert len(tasks_of_folder(folder, 'the cup', leave_out=folder.parent / 'answers')) == 4
    with pytest.raises(UserError, match='the answers need a folder of their own'):
        tasks_of_folder(folder / 'x', 'the cup', leave_out=folder / 'y' / '..' / 'x')


def test_rows_of_one_image_stand_side_by_side(folder):
    path = rows(
        folder,
        {'image': 'x/a.png', 'phrase': 'the cup', 'id': 7},
        '',
        {'image': 'a.png', 'question': 'Why?', 'raw': True, 'seed': 3},
        {'image': './x/a.png', 'question': 'Where?', 'history': [['Who?', 'A [SEG].']]},
    )
    tasks, notes = tasks_of_file(path, seed=5)
    assert [(task.image, task.question, task.seed) for task in tasks] == [
        ('x/a.png', 'the cup', 5),
        ('x/a.png', 'Where?', 5),
        ('a.png', 'Why?', 3),
    ]
    assert not notes
    options = AnswerOptions(temperature=1.0)
    requests = [task.request(folder, options) for task in tasks]
    assert requests[0].question == 'What is the cup in this image? Please output segmentation mask.'
    assert [request.raw for request in requests] == [True, False, True]
    assert requests[1].history == (('Who?', 'A [SEG].'),)
    assert [request.options.seed for request in requests] == [5, 5, 3]


def test_a_key_survives_json(folder):
    task = Task('a.png', 'q', False, True, 3, (('a', 'b'),), 'my é')
    assert key_of(json.loads(json.dumps(task.to_dict()))) == task.key
    assert key_of(Task('a.png', 'q', where='line 3').to_dict()) == Task('a.png', 'q').key != task.key


def test_a_repeated_row_is_asked_once_and_noted(folder):
    row = {'image': 'a.png', 'phrase': 'the cup'}
    tasks, notes = tasks_of_file(rows(folder, row, row, {**row, 'id': 'again'}))
    assert len(tasks) == 2
    assert list(notes.values()) == [1]


@pytest.mark.parametrize(
    ('row', 'words'),
    [
        ('{"image": "a.png"', 'line 2 is no json'),
        ({'image': 'a.png'}, 'one of phrase and question is needed; keys found: image'),
        ({'image': 'a.png', 'phrase': 'a', 'question': 'b'}, 'one of phrase and question'),
        ({'image': 'a.png', 'qestion': 'b'}, "qestion is no known field, and 'question' is missing"),
        ({'image': 'a.png', 'phrase': ' '}, 'phrase: it is empty'),
        ({'image': 'a.png', 'phrase': 'a', 'raw': True}, 'raw belongs to a question'),
        ({'image': 'a.png', 'question': 'a', 'raw': 'yes'}, "raw is 'yes'; true or false is needed"),
        ({'image': 'a.png', 'question': 'a', 'seed': -1}, 'seed is -1; at least 0'),
        ({'image': 'a.png', 'question': 'a', 'history': [['b']]}, 'a turn is'),
        ({'image': 'a.png', 'question': 'a', 'id': [1]}, 'a whole number or a text is needed'),
        ({'image': 'none.png', 'question': 'a'}, 'none.png is not there'),
        ({'image': '../a.png', 'question': 'a'}, 'does not lie below the folder of the file'),
        ({'image': '/a.png', 'question': 'a'}, 'does not lie below the folder of the file'),
    ],
)
def test_faults_of_rows(folder, row, words):
    with pytest.raises(DataError, match=words) as caught:
        tasks_of_file(rows(folder, {'image': 'a.png', 'phrase': 'x'}, row))
    assert 'line 2' in str(caught.value)


def test_all_faults_come_at_once(folder):
    path = rows(folder, *[{'image': f'{number}.png', 'phrase': 'x'} for number in range(9)])
    with pytest.raises(DataError, match=r'line 1: (.*\n)+.*line 6: .*\nand 3 more faults'):
        tasks_of_file(path)


def test_an_empty_file(folder):
    with pytest.raises(DataError, match='holds no question'):
        tasks_of_file(rows(folder))


def test_questions_are_checked_with_the_model(folder):
    tasks = [Task('a.png', 'the cup', where='line 1'), Task('a.png', 'the [SEG]', where='line 2')]
    tasks.append(Task('a.png', 'the cup', history=(('<image>', 'a'),), where='line 3'))
    with pytest.raises(DataError, match=r'f: line 2: .*answers with a mask(.*\n)f: line 3: .*stands for the image'):
        check_tasks(tasks, SPEC, AnswerOptions(), 'f')
    with pytest.raises(DataError, match=r'^the question holds') as caught:
        check_tasks(tasks_of_folder(folder, '[SEG]'), SPEC, AnswerOptions())
    assert '\n' not in str(caught.value)
