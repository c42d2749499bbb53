from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_mm.demo.limits import MEGABYTE, Limits, Upload, read_upload
from lisa_mm.errors import DataError


def upload(folder: Path, content: bytes, name: str = 'mine.png') -> Upload:
    (folder / 'kept').write_bytes(content)
    return Upload(folder / 'kept', name)


def test_nothing_was_uploaded() -> None:
    with pytest.raises(DataError, match='There is no image yet'):
        read_upload(None, Limits())


def test_a_file_that_is_gone_is_named_as_its_owner_knows_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r'no longer has mine\.png') as raised:
        read_upload(Upload(tmp_path / 'kept', 'mine.png'), Limits())
    assert str(tmp_path) not in str(raised.value)


def test_the_limit_of_bytes_is_a_limit(tmp_path: Path) -> None:
    limits = Limits(upload_mb=0.5)
    with pytest.raises(DataError, match=r'mine\.png is larger than 0\.5 MB'):
        read_upload(upload(tmp_path, bytes(MEGABYTE // 2 + 1)), limits)
    with pytest.raises(DataError, match=r'mine\.png is no image'):  # read, as it is small enough
        read_upload(upload(tmp_path, bytes(MEGABYTE // 2)), limits)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


@pytest.mark.filterwarnings('ignore::PIL.Image.DecompressionBombWarning')  # as lisa_mm.datasets.images has it outside of tests
@pytest.mark.parametrize(
    ('side', 'message'),
    [
        (10_000, r'10000 x 10000 pixels \(100\.0 megapixels\); at most 50 megapixels'),
        (30_000, 'more pixels than the 50 megapixels'),
    ],
)
def test_a_small_file_of_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, side: int, message: str) -> None:
    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    content = b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b''))
    with pytest.raises(DataError, match=message):
        read_upload(upload(tmp_path, content), Limits())


def test_as_many_pixels_as_allowed_are_read(tmp_path: Path) -> None:
    pixels = np.arange(3000, dtype=np.uint8).reshape(20, 50, 3)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, 'PNG')
    np.testing.assert_array_equal(read_upload(upload(tmp_path, content.getvalue()), Limits(megapixels=0.001)), pixels)
    with pytest.raises(DataError, match=r'50 x 20 pixels'):
        read_upload(upload(tmp_path, content.getvalue()), Limits(megapixels=0.000999))
