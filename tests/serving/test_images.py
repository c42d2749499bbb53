"""The image of a request, in each form that a client may choose."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from lisa_mm.errors import DataError
from lisa_mm.serving.images import ImageReader
from lisa_mm.serving.limits import Limits, RequestError

from .running_server import base64_of, data_uri, picture, png_bytes

PIXELS = picture(4)


@pytest.mark.parametrize('image', [png_bytes(PIXELS), base64_of(PIXELS), data_uri(PIXELS), data_uri(PIXELS) + '\n'])
def test_forms(image):
    np.testing.assert_array_equal(ImageReader(Limits()).read(image, 1), PIXELS)


def test_samples_of_16_bits_are_read_as_the_model_reads_them():
    deep = np.array([[0, 1000], [2000, 4000]], np.uint16)
    file = io.BytesIO()
    Image.fromarray(deep).save(file, 'PNG')
    found = ImageReader(Limits(), value_range=(0, 4000)).read(base64.b64encode(file.getvalue()).decode(), 1)
    np.testing.assert_array_equal(found[..., 0], [[0, 64], [128, 255]])


def header(width, height):
    """A PNG without its pixels."""

    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    size = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', size) + chunk(b'IDAT', b'')


@pytest.mark.parametrize(('size', 'words'), [((8000, 6000), '8000 x 6000 pixels'), ((60_000, 50_000), 'too many pixels')])
def test_pixels_are_counted_before_they_are_decoded(size, words):
    with pytest.raises(RequestError, match=f'{words}; at most 40,000,000') as caught:
        ImageReader(Limits()).read(header(*size), 1)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    ('image', 'words'),
    [
        (b'', 'is none that can be read'),
        (b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n', 'is none that can be read. Send one of these: PNG'),
        (png_bytes(PIXELS)[:-200], 'is no image that can be read'),
        ('data:image/png;base64', 'a data URI reads'),
        ('data:text/plain,abc', 'a data URI reads'),
        ('Ä' * 8, 'is no base64'),
        ('http://example.org/a.png', 'without --allow-urls'),
        ('file:///etc/passwd', 'is no base64'),
    ],
)
def test_faults(image, words):
    with pytest.raises(DataError, match=words):
        ImageReader(Limits()).read(image, 1)
