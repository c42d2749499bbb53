"""A small model and pictures for conversations."""

from __future__ import annotations

import pytest

from lisa_mm.apis import LISAInferencer
from lisa_mm.chat.session import ChatSession
from lisa_mm.models.decoding import AnswerOptions

from ..apis.tiny_model import write_images, write_work_folder


@pytest.fixture(scope='package')
def model(tmp_path_factory):
    return write_work_folder(tmp_path_factory.mktemp('model') / 'work')


@pytest.fixture(scope='package')
def inferencer(model):
    return LISAInferencer(model, device='cpu', show_progress=False)


@pytest.fixture
def photos(tmp_path):
    return write_images(tmp_path / 'photos', 'a.png', 'my cup.png')


@pytest.fixture
def session(inferencer, photos, tmp_path):
    """A session with an image whose answers hold a mask."""
    found = ChatSession(inferencer, tmp_path / 'out', options=AnswerOptions(max_new_tokens=6, force_seg=True))
    found.open(str(photos / 'a.png'))
    return found
