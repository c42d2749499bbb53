from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lisa_mm.demo.answering import Model
from lisa_mm.demo.limits import Limits, Upload
from lisa_mm.demo.page import Page, read_examples, upload_of
from lisa_mm.errors import DataError

from .building import in_loop


@pytest.fixture
def page() -> Page:
    models = [Model(name, SimpleNamespace(load=None)) for name in 'ab']
    return in_loop(lambda: Page(models, Limits(concurrency=2)))


def config_of(page: Page) -> dict[str, Any]:
    return dict(page.blocks.get_config_file())


def test_there_is_a_view_for_each_model(page: Page) -> None:
    values = [part['props'].get('value') for part in config_of(page)['components'] if part['type'] == 'html']
    views = [value for value in values if isinstance(value, dict)]
    assert [view['model'] for view in views] == ['a', 'b']


def test_no_endpoint_is_public_and_questions_are_limited(page: Page) -> None:
    (asking,) = [one for one in page.blocks.fns.values() if one.name == 'ask']
    assert asking.concurrency_limit == 2
    assert {one['api_visibility'] for one in config_of(page)['dependencies']} == {'private'}
    assert page.blocks.analytics_enabled is False


def test_no_text_of_a_visitor_becomes_a_tag(page: Page) -> None:
    (message, *_) = page.start({'path': 'missing', 'orig_name': '<img src=x onerror=alert(1)>'}, '')
    assert isinstance(message, str)
    assert '<img' not in message and '&lt;img' in message


def test_a_first_question_that_was_stopped_can_be_asked_again(page: Page) -> None:
    first = page.visit_of('')
    page.visits.put('key', first)
    page.stop(None, 'key')
    assert first.is_over
    again = page.visit_of('key')
    assert (again is first, again.is_over) == (False, False)
    page.start(None, 'key')
    assert again.is_over
    with pytest.raises(DataError, match='no longer'):
        page.visit_of('key')


def test_an_expired_conversation_is_not_silently_begun_anew(page: Page) -> None:
    with pytest.raises(DataError, match='no longer'):
        page.visit_of('gone')
    assert len(page.visit_of('').talks) == 2


def test_a_picture_is_passed_on_unopened(tmp_path: Path) -> None:
    (tmp_path / 'x.png').write_bytes(b'no image')
    given = {'path': str(tmp_path / 'x.png'), 'url': None}
    assert upload_of({**given, 'orig_name': 'mine.png'}) == Upload(tmp_path / 'x.png', 'mine.png')
    assert upload_of({**given, 'orig_name': None}) == Upload(tmp_path / 'x.png', 'x.png')
    assert upload_of(None) is upload_of({'path': None, 'url': 'data:image/png;base64,AAAA'}) is None


def test_examples_are_those_of_the_model_folder(tmp_path: Path) -> None:
    assert read_examples(tmp_path) == []
    (tmp_path / 'example.json').write_text(json.dumps({'image': 'a.jpg', 'questions': ['x', 'y']}))
    assert read_examples(tmp_path) == [(tmp_path / 'a.jpg', 'x'), (tmp_path / 'a.jpg', 'y')]
