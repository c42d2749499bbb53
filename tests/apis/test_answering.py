"""Many questions into a folder: what is written, and what becomes of it when a run stops."""

from __future__ import annotations

import json
import shutil
import threading
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_mm.apis import LISAInferencer
from lisa_mm.apis.answering import answer_many, answer_one
from lisa_mm.apis.folder_run import MOST_IN_A_ROW, print_report
from lisa_mm.apis.loading import ReadyModel
from lisa_mm.datasets.run_lengths import decode_rle
from lisa_mm.engine.lock import FolderLock
from lisa_mm.errors import DataError, UserError, WorkFolderError
from lisa_mm.models.decoding import AnswerOptions

from .tiny_model import write_images, write_work_folder

OPTIONS = AnswerOptions(max_new_tokens=4, force_seg=True)
NAMES = ('a.jpg', 'a.png', 'b.png', 'x/a.png')


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return write_work_folder(tmp_path_factory.mktemp('model') / 'work')


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / 'photos', *NAMES)


@pytest.fixture
def ask(model, photos, tmp_path):
    """Answer questions into tmp_path/out, by default one about each photo."""

    def run(source=photos, question: str | None = 'the cup', *, options: AnswerOptions = OPTIONS, model=model, **more):
        return answer_many(model, None, source, question, tmp_path / 'out', options=options, **{'device': 'cpu', **more})

    return run


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding='utf-8').splitlines()]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}


@pytest.fixture
def no_weights(monkeypatch):
    """Reading weights is a fault from now on."""

    def forbid():
        monkeypatch.setattr(ReadyModel, 'load', lambda self: pytest.fail('the weights are read'))

    return forbid


def test_a_folder(ask, model, photos, tmp_path):
    report = ask(batch_size=3)
    assert (report.answered, report.before, report.faults) == (4, 0, 0)
    out = tmp_path / 'out'
    found = lines(out / 'answers.jsonl')
    assert [line['image'] for line in found] == list(NAMES)
    # equal stems do not collide, in one folder or in several
    assert [line['stem'] for line in found] == ['a', 'a_2', 'b', 'x/a']
    single = LISAInferencer(model, device='cpu')
    for line in found:
        assert line['options'] == {**vars(OPTIONS)}
        answer = single(photos / line['image'], 'the cup', **vars(OPTIONS))
        assert (line['text'], line['asked']) == (answer.text, answer.asked)
        masks = [decode_rle(mask['rle']) == 1 for mask in line['masks']]
        assert len(masks) == len(line['files']) - 1 >= 1
        for mask, name in zip(masks, line['files'], strict=False):
            np.testing.assert_array_equal(mask, np.array(Image.open(out / name)) == 255)
        assert np.array(Image.open(out / line['files'][-1])).shape == (*masks[0].shape, 3)
    assert not (out / 'faults.jsonl').exists()
    assert not (out / '.lock').exists()


def test_a_second_call_answers_nothing_and_reads_no_weights(ask, no_weights, photos, tmp_path):
    ask()
    before = snapshot(tmp_path / 'out')
    no_weights()
    report = ask(batch_size=1)
    assert (report.answered, report.before) == (0, 4)
    assert snapshot(tmp_path / 'out') == before


def test_images_that_come_later(ask, photos, tmp_path):
    ask()
    write_images(photos, 'A.png')  # before all others in the order of names
    report = ask()
    assert (report.answered, report.before) == (1, 4)
    assert lines(tmp_path / 'out' / 'answers.jsonl')[-1]['image'] == 'A.png'


def test_a_torn_line_is_answered_again(ask, tmp_path):
    ask()
    path = tmp_path / 'out' / 'answers.jsonl'
    whole = snapshot(tmp_path / 'out')
    path.write_bytes(path.read_bytes()[:-20])
    report = ask()
    assert (report.answered, report.before) == (1, 3)
    assert any('cut off' in note for note in report.notes)
    # also its pictures have the names they had
    assert snapshot(tmp_path / 'out') == whole


def test_ctrl_c(ask, monkeypatch, capsys, tmp_path):
    whole = None
    forward = LISAInferencer.forward
    calls = []

    def interrupted(self, batch, **more):
        calls.append(len(batch))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return forward(self, batch, **more)

    monkeypatch.setattr(LISAInferencer, 'forward', interrupted)
    with pytest.raises(KeyboardInterrupt):
        ask(batch_size=2)
    assert '2 of 4 questions are answered; the same command goes on' in capsys.readouterr().err
    assert not (tmp_path / 'out' / '.lock').exists()
    monkeypatch.setattr(LISAInferencer, 'forward', forward)
    assert ask(batch_size=2).answered == 2
    whole = snapshot(tmp_path / 'out')
    shutil.rmtree(tmp_path / 'out')
    ask(batch_size=2)
    assert snapshot(tmp_path / 'out') == whole


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'question': 'the cap'}, "question was 'the cup' and is now 'the cap'"),
        ({'options': replace(OPTIONS, max_new_tokens=5)}, 'max_new_tokens was 4 and is now 5'),
        ({'raw': True}, 'raw was False and is now True'),
        ({'dtype': 'bfloat16'}, "dtype was 'float32'"),
    ],
)
def test_another_run_in_the_same_folder(ask, no_weights, change, words):
    ask(limit=1)
    no_weights()
    with pytest.raises(UserError, match=f'{words}.*Give another --out'):
        ask(**change)


def test_another_model_in_the_same_folder(ask, no_weights, model, photos, tmp_path):
    moved = tmp_path / 'model'
    shutil.copytree(model, moved)
    ask(model=moved, limit=1)
    ask(model=moved, limit=1)
    no_weights()
    with pytest.raises(UserError, match=r"model was '.*model/iter_2' and is now '.*work/iter_2'"):
        ask()
    shutil.rmtree(moved)
    write_work_folder(moved, seed=1)
    with pytest.raises(UserError, match=r'the weights of .*model/iter_2 changed since'):
        ask(model=moved)
    questions = photos / 'q.jsonl'
    questions.write_text('{"image": "a.png", "phrase": "the cup"}\n')
    with pytest.raises(UserError, match='Give another --out'):
        ask(questions, None)


def test_other_files_in_the_folder(ask, no_weights, model, photos, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'letter.txt').write_text('mine')
    no_weights()
    with pytest.raises(UserError, match=r'holds other files \(letter.txt\)'):
        ask()
    assert snapshot(tmp_path / 'out') == {'letter.txt': b'mine'}


def test_one_image_does_not_go_into_the_folder_of_a_run(ask, no_weights, model, photos, tmp_path):
    ask(limit=1)
    no_weights()
    with pytest.raises(UserError, match='holds a run over many images'):
        answer_one(model, None, photos / 'a.png', 'the cup', tmp_path / 'out', options=OPTIONS)


def test_an_image_at_an_address(model, photos, tmp_path):
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(photos))

        def log_message(self, format, *args):
            asked.append(args[0])

    with ThreadingHTTPServer(('127.0.0.1', 0), Handler) as server:
        threading.Thread(target=server.serve_forever).start()
        address = f'http://127.0.0.1:{server.server_port}'
        answer, files = answer_one(model, None, f'{address}/b.png?size=1', 'the cup', tmp_path / 'out', options=OPTIONS)
        with pytest.raises(DataError, match=r'none.png cannot be read \(HTTP Error 404'):
            answer_one(model, None, f'{address}/none.png', 'the cup', tmp_path / 'out', options=OPTIONS)
        server.shutdown()
    assert asked.count('GET /b.png?size=1 HTTP/1.1') == 1
    assert answer.name == f'{address}/b.png?size=1'
    assert files[-1].name == 'b_page.png'
    alone = LISAInferencer(model)(photos / 'b.png', 'the cup', **vars(OPTIONS))
    np.testing.assert_array_equal(answer.masks, alone.masks)


def test_faults_do_not_stop_the_run_and_are_tried_again(ask, photos, tmp_path):
    (photos / 'b.png').write_bytes(b'broken')
    report = ask(batch_size=3)
    assert (report.answered, report.faults) == (3, 1)
    (fault,) = lines(tmp_path / 'out' / 'faults.jsonl')
    assert fault['image'] == 'b.png'
    assert "is a text that begins with 'broken', no image" in fault['error']
    assert report.files == [tmp_path / 'out' / name for name in ('answers.jsonl', 'faults.jsonl')]
    assert ask().faults == 1
    assert len(lines(tmp_path / 'out' / 'faults.jsonl')) == 1
    write_images(photos, 'b.png')
    report = ask()
    assert (report.answered, report.before, report.faults) == (1, 3, 0)
    assert not (tmp_path / 'out' / 'faults.jsonl').exists()


def test_a_question_that_the_model_fails_on_is_found(ask, monkeypatch, tmp_path):
    forward = LISAInferencer.forward

    def failing(self, batch, **more):
        if any(prepared.request.image.name == 'b.png' for prepared in batch):
            raise RuntimeError('out of memory')
        return forward(self, batch, **more)

    monkeypatch.setattr(LISAInferencer, 'forward', failing)
    assert ask().faults == 1
    (fault,) = lines(tmp_path / 'out' / 'faults.jsonl')
    assert (fault['image'], fault['error']) == ('b.png', 'RuntimeError: out of memory')


def test_a_model_that_always_fails_ends_the_run(ask, monkeypatch, tmp_path):
    def failing(self, batch, **more):
        raise RuntimeError('a broken GPU')

    monkeypatch.setattr(LISAInferencer, 'forward', failing)
    with pytest.raises(RuntimeError, match='a broken GPU'):
        ask(batch_size=1)
    assert len(lines(tmp_path / 'out' / 'faults.jsonl')) == MOST_IN_A_ROW - 1


def test_answers_without_a_mask_are_counted(ask, capsys, tmp_path):
    options = AnswerOptions(max_new_tokens=3)
    report = ask(options=options)
    found = lines(tmp_path / 'out' / 'answers.jsonl')
    assert [line['masks'] for line in found] == [[]] * 4
    print_report(report, tmp_path / 'out')
    printed = capsys.readouterr()
    assert 'note: answers without a mask; --force-seg makes the model give one: 4\n' in printed.err
    assert f'may go on: {sum(line["cut"] for line in found)}\n' in printed.err
    assert printed.err.endswith('4 answered\n')
    assert printed.out == f'{tmp_path}/out/answers.jsonl\n'


def test_a_limit(ask, tmp_path):
    assert [(report.answered, report.before, report.left) for report in (ask(limit=3), ask(limit=3))] == [(3, 0, 1), (1, 3, 0)]


def test_two_runs_on_one_folder(ask, no_weights, tmp_path):
    other = FolderLock(tmp_path / 'out')
    other.take()
    no_weights()
    with pytest.raises(WorkFolderError, match=r'in use by process .*give another --out'):
        ask()
    other.release()


def test_a_jsonl(ask, photos, tmp_path):
    rows = [
        {'image': 'a.png', 'phrase': 'the cup', 'id': 'one'},
        {'image': 'x/a.png', 'question': 'Why?', 'raw': True},
        {'image': 'a.png', 'question': 'Where is it?', 'history': [['the cup', 'It is [SEG].']]},
    ]
    path = photos / 'questions.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    assert ask(path, None).answered == 3
    found = lines(tmp_path / 'out' / 'answers.jsonl')
    assert [line['stem'] for line in found] == ['a', 'a_2', 'x/a']
    assert [line['asked'] for line in found] == [
        'What is the cup in this image? Please output segmentation mask.',
        'Where is it? Please output segmentation mask.',
        'Why?',
    ]
    assert [line.get('id') for line in found] == ['one', None, None]
    # a row more is answered later, and the others are not
    with path.open('a') as file:
        file.write(json.dumps({'image': 'a.png', 'phrase': 'the cat'}) + '\n')
    report = ask(path, None)
    assert (report.answered, report.before) == (1, 3)
    assert lines(tmp_path / 'out' / 'answers.jsonl')[-1]['stem'] == 'a_3'


def test_faults_of_a_jsonl_come_before_the_weights(ask, no_weights, photos, tmp_path):
    no_weights()
    path = photos / 'questions.jsonl'
    path.write_text('{"image": "none.png", "phrase": "a"}\n{"image": "a.png", "phrase": "[SEG]"}\n')
    with pytest.raises(DataError, match=r'line 1: .*is not there'):
        ask(path, None)
    path.write_text('{"image": "a.png", "phrase": "[SEG]"}\n')
    with pytest.raises(DataError, match=r"questions.jsonl: line 1: the question holds '\[SEG\]'"):
        ask(path, None)
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('kind', ['coco', 'labelme', 'reasonseg', 'jsonl'])
def test_labels(ask, no_weights, tmp_path, kind):
    """In the run, or by a later call, which reads no weights."""
    ask(limit=2)
    report = ask(labels=kind)
    assert (tmp_path / 'out' / kind).is_dir()
    assert all(path.exists() for path in report.files)
    before = snapshot(tmp_path / 'out')
    no_weights()
    ask(labels=kind)
    assert snapshot(tmp_path / 'out') == before
    if kind == 'coco':
        written = json.loads((tmp_path / 'out' / 'coco' / 'annotations.json').read_text())
        assert [image['file_name'] for image in written['images']] == list(NAMES)
