"""A tiny model behind a server, in a thread of the tests."""

from __future__ import annotations

import pytest

from lisa_mm.apis.inferencer import LISAInferencer
from lisa_mm.apis.loading import prepare_model
from lisa_mm.models import LISA
from lisa_mm.testing.tiny import MODEL, training

from .running_server import served


@pytest.fixture(scope='session')
def ready(tmp_path_factory):
    return prepare_model(training(MODEL, tmp_path_factory.mktemp('tiny'), LISA), None, device='cpu')


@pytest.fixture(scope='session')
def inferencer(ready):
    """The model that is served; its answers are what the server's are compared with."""
    return LISAInferencer(ready, remember=8, show_progress=False)


@pytest.fixture(scope='module')
def server(inferencer):
    """A server with the default settings."""
    with served(inferencer) as running:
        yield running
