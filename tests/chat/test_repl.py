"""Lines in, answers and one line for each fault out."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from lisa_mm.chat.pictures import picture_drawer
from lisa_mm.chat.repl import COMMANDS, Repl, path_of


@pytest.fixture
def talk(session):
    """Give lines (or exceptions), get what is printed and the faults."""

    def run(*lines, is_script: bool = False, pictures: bool = False):
        waiting = iter(lines)
        prompts = []

        def read(prompt: str) -> str:
            prompts.append(prompt)
            line = next(waiting, EOFError())
            if isinstance(line, BaseException):
                raise line
            return line

        console, errors = (
            Console(file=io.StringIO(), width=100, height=30, force_terminal=True, color_system=None, record=True)
            for _ in range(2)
        )
        draw = picture_drawer(Console(file=io.StringIO(), force_terminal=True, color_system='truecolor')) if pictures else None
        repl = Repl(session, console, errors, draw=draw, is_script=is_script)
        repl.run(read)
        talk_errors = errors.export_text().splitlines()
        assert repl.faults == len(talk_errors)
        return console.export_text(), talk_errors, prompts

    return run


def test_a_conversation(talk, session, photos):
    text, faults, prompts = talk('the cup', ' ', f'/image {photos}/my cup.png', 'the cat', '/quit', 'never read')
    assert not faults
    assert prompts == ['a.png 56x40> '] * 3 + ['my cup.png 56x41> '] * 2
    (answer,) = session.answers
    assert answer.text in text
    for name in ('a_mask_0.png', 'a_overlay.png', 'my cup_overlay.png'):
        path = session.folder() / name
        assert path.is_file()
        assert str(path) in text
    assert f'score {answer.scores[0]:.2f}, {answer.masks[0].sum()} pixels' in text


def test_an_answer_without_a_mask_says_what_to_try(talk, session):
    text, _, _ = talk('/set force_seg=false', 'the cup')
    assert '[SEG]' not in session.answers[0].text
    assert '/set force_seg=true' in text
    assert 'asked: What is the cup in this image?' in text
    assert not (session.out).exists()


def test_the_picture(talk):
    text, _, _ = talk('the cup', pictures=True)
    assert text.count('▀') > 100
    assert '▀' not in talk('the cup')[0]


def test_undo_reset_and_history(talk, session):
    text, faults, _ = talk('the cup', 'the cat', '/undo', '/undo', '/undo', 'the dog', '/reset')
    assert 'taken back: the cat' in text
    assert 'taken back: the cup' in text
    assert faults == ['there is no question to take back']
    assert not session.answers


def test_raw(talk, session):
    talk('/raw Why?')
    assert session.answers[0].turn[0] == 'Why?'


@pytest.mark.parametrize(
    ('line', 'words'),
    [
        ('/imag a', "/imag is no command. Did you mean '/image'?"),
        ('/image', 'which image? /image PATH'),
        ('/image nowhere.png', 'nowhere.png: no such file'),
        ('/image "a', 'a quote is not closed'),
        ('/raw', 'the question is empty'),
        ('the [SEG]', 'answers with a mask'),
        ('/set', ''),
        ('/set seed=x', "seed is a whole number, not 'x'"),
        ('/save', 'there is no answer to save yet'),
    ],
)
def test_bad_input_is_one_line(talk, line, words):
    _, faults, _ = talk(line)
    assert len(faults) == (1 if words else 0)
    assert words in ''.join(faults)


def test_help_names_all_commands(talk):
    text, _, _ = talk('/help')
    assert all(name in text for name in COMMANDS)


def test_ctrl_c_stops_the_answer_alone(talk, session, monkeypatch):
    closed = []

    def stream(*args, **more):
        try:
            yield 'It is'
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    monkeypatch.setattr(session.inferencer, 'stream', stream)
    text, faults, prompts = talk('the cup', KeyboardInterrupt())
    assert 'It is\n(stopped; ' in text
    assert '(Ctrl-D leaves)' in text
    assert closed and not faults and not session.answers
    assert len(prompts) == 3
    with pytest.raises(KeyboardInterrupt):
        talk('the cup', is_script=True)


def test_a_script_prints_answers_alone(talk, session):
    text, _, prompts = talk('the cup', is_script=True)
    assert prompts == ['', '']
    assert text.startswith(session.answers[0].text)


def test_paths_as_they_are_typed_or_dragged(photos, monkeypatch):
    monkeypatch.setenv('HOME', str(photos))
    wanted = str(photos / 'my cup.png')
    for text in (wanted, '~/my cup.png', f"'{wanted}'", wanted.replace(' ', '\\ ')):
        assert path_of(text) == wanted
    assert path_of('https://x.org/a%20b.png') == 'https://x.org/a%20b.png'
