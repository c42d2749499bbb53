"""What the tab key offers."""

from __future__ import annotations

import pytest

from lisa_mm.chat.completion import completions

from ..apis.tiny_model import write_images

COMMANDS, OPTIONS = ['/image', '/set', '/save'], ['top_p', 'top_k', 'seed']


@pytest.fixture
def here(tmp_path, monkeypatch):
    write_images(tmp_path, 'a.png', 'my cup.jpg', 'x/b.png', '.hidden.png')
    (tmp_path / 'notes.txt').write_text('')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('HOME', str(tmp_path / 'x'))
    return tmp_path


@pytest.mark.parametrize(
    ('line', 'found'),
    [
        ('/s', ['/set ', '/save ']),
        ('the cup', []),
        ('', []),
        ('/set top', ['/set top_p=', '/set top_k=']),
        ('/image ', ['/image a.png', '/image my cup.jpg', '/image x/']),
        ('/image my c', ['/image my cup.jpg']),
        ('/image x/', ['/image x/b.png']),
        ('/image ~/', ['/image ~/b.png']),
        ('/image .h', ['/image .hidden.png']),
        ('/image nowhere/', []),
        ('/image notes.txt/', []),
        ('/save ', ['/save x/']),
        ('/undo ', []),
    ],
)
def test_lines(here, line, found):
    assert completions(line, COMMANDS, OPTIONS) == found


def test_an_absolute_path(here):
    assert completions(f'/image {here}/a', COMMANDS, OPTIONS) == [f'/image {here}/a.png']
