"""A conversation: its history, its options and its files."""

from __future__ import annotations

import json

import pytest

from lisa_mm.apis.answers import Answer
from lisa_mm.chat.session import ChatSession
from lisa_mm.errors import DataError, UserError


def ask(session, question, **more) -> Answer:
    *_, answer = session.ask(question, **more)
    return answer


def test_the_answer_is_the_inferencers(session, inferencer, photos):
    options = vars(session.options)
    first = ask(session, 'the cup')
    alone = inferencer(photos / 'a.png', 'the cup', **options)
    assert (first.text, first.asked, first.name) == (alone.text, alone.asked, str(photos / 'a.png'))
    second = ask(session, 'Why?', raw=True)
    alone = inferencer(photos / 'a.png', 'Why?', raw=True, history=[first.turn], **options)
    assert (second.text, second.asked, second.earlier) == (alone.text, 'Why?', len(first.masks))
    assert session.answers == [first, second]
    assert len(session.masks) == len(first.masks) + len(second.masks) - second.earlier


def test_undo_and_a_new_image(session, photos):
    with pytest.raises(UserError, match='no question to take back'):
        session.undo()
    first = ask(session, 'the cup')
    ask(session, 'the cat')
    assert session.undo().question == 'the cat'
    assert session.answers == [first]
    session.open(str(photos / 'my cup.png'))
    assert not session.answers
    assert session.masks.shape == (0, 41, 56)


def test_a_broken_image_changes_nothing(session, photos):
    ask(session, 'the cup')
    (photos / 'broken.png').write_bytes(b'broken')
    with pytest.raises(DataError):
        session.open(str(photos / 'broken.png'))
    assert session.name.endswith('a.png')
    assert len(session.answers) == 1


def test_an_answer_that_is_left_is_no_part_of_the_conversation(session):
    stream = session.ask('the cup')
    next(stream)
    stream.close()
    assert not session.answers


def test_a_question_that_cannot_be_asked(session, inferencer, tmp_path):
    with pytest.raises(DataError, match='answers with a mask'):
        ask(session, 'the [SEG]')
    with pytest.raises(UserError, match='there is no image yet'):
        ask(ChatSession(inferencer, tmp_path), 'the cup')


@pytest.mark.parametrize(
    ('text', 'key', 'value'),
    [('max_new_tokens=9', 'max_new_tokens', 9), (' no_text = Yes', 'no_text', True), ('temperature=.5', 'temperature', 0.5)],
)
def test_options(session, text, key, value):
    session.set(text)
    assert getattr(session.options, key) == value


@pytest.mark.parametrize(
    ('text', 'words'),
    [
        ('max_new_token=9', "Did you mean 'max_new_tokens'"),
        ('seed', 'Give key=value'),
        ('no_text=maybe', "no_text is true or false, not 'maybe'"),
        ('seed=1.5', "seed is a whole number, not '1.5'"),
        ('top_p=a', "top_p is a number, not 'a'"),
        ('top_p=2', 'top_p is 2.0; give a share'),
        ('max_new_tokens=0', 'max_new_tokens is 0'),
    ],
)
def test_wrong_options_change_nothing(session, text, words):
    before = session.options
    with pytest.raises(UserError, match=words):
        session.set(text)
    assert session.options == before


def test_files(session, tmp_path):
    assert not (tmp_path / 'out').exists()
    with pytest.raises(UserError, match='no answer to save yet'):
        session.save()
    for question in ('the cup', 'the cat'):
        answer = ask(session, question)
        files = session.write(answer)
        # masks of earlier answers are written once
        assert len(files) == len(answer.masks) - answer.earlier + 1
    assert {path.parent for path in files} == {session.folder()}
    (written,) = session.save()
    assert [json.loads(line)['question'] for line in written.read_text().splitlines()] == ['the cup', 'the cat']
    assert session.save()[0].name == 'conversation_2.jsonl'
    saved = session.save(tmp_path / 'kept')
    assert {path.name for path in saved} == {path.name for path in (tmp_path / 'kept').iterdir()}
    assert len(saved) == len(session.masks) + 2 + 1
    with pytest.raises(UserError, match='is a file'):
        session.save(written)


def test_two_sessions_of_one_second_have_their_own_folders(inferencer, tmp_path, monkeypatch):
    monkeypatch.setattr('time.strftime', lambda form: form.replace('%', ''))
    folders = [ChatSession(inferencer, tmp_path).folder() for _ in range(3)]
    assert len(set(folders)) == 3
