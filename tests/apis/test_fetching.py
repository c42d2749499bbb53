"""Images by their address, read as files are."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from lisa_mm.apis.asking import read_image
from lisa_mm.apis.fetching import decode_image, fetch_image, is_address
from lisa_mm.datasets.transforms import LoadImage
from lisa_mm.errors import DataError

ADDRESS = 'http://example.org/deep.png'
VALUES = np.arange(0, 4096, 16, dtype=np.uint16).reshape(16, 16)  # 12 bits in a png of 16


@pytest.fixture
def deep(tmp_path, monkeypatch):
    """A png of 16 bits as a file, which the address gives too."""
    path = tmp_path / 'deep.png'
    Image.fromarray(VALUES).save(path)
    monkeypatch.setattr('urllib.request.urlopen', lambda request, timeout: io.BytesIO(path.read_bytes()))
    return path


@pytest.mark.parametrize('value_range', [None, (0, 4095)])
def test_an_address_is_read_as_its_file_is(deep, value_range):
    load = LoadImage(value_range=value_range)
    found = read_image(ADDRESS, load)
    np.testing.assert_array_equal(found['img'], read_image(deep, load)['img'])
    assert found['sample_id'] == ADDRESS
    assert bool(found['img'].max() > 200) is (value_range is not None)


def test_what_is_too_large_or_no_image(deep):
    with pytest.raises(DataError, match=r'deep\.png is larger than 10 bytes'):
        fetch_image(ADDRESS, max_bytes=10)
    with pytest.raises(DataError, match='the page is no image that can be read'):
        decode_image(b'<html>', 'the page')


def test_an_address_that_does_not_answer(monkeypatch):
    def refuse(request, timeout):
        raise OSError('refused')

    monkeypatch.setattr('urllib.request.urlopen', refuse)
    with pytest.raises(DataError, match=r'deep\.png cannot be read \(refused\)'):
        fetch_image(ADDRESS)


def test_what_is_an_address():
    assert is_address(ADDRESS) and not is_address('http.png') and not is_address(np.zeros(3))
