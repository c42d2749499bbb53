"""Files of every kind that docs/images.md lists."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 36
ORIENTATION = 6
RANGE = (1000, 3000)


def colours(seed: int = 0, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (HEIGHT, WIDTH, channels), dtype=np.uint8)


def grey(seed: int = 0) -> np.ndarray:
    return colours(seed)[..., 0]


def deep(high: int = 65536, channels: int | None = None, seed: int = 0) -> np.ndarray:
    shape = (HEIGHT, WIDTH) if channels is None else (HEIGHT, WIDTH, channels)
    return np.random.default_rng(seed).integers(0, high, shape, dtype=np.uint16)


def numbers(seed: int = 0) -> np.ndarray:
    """Few numbers, as a label map holds."""
    return np.random.default_rng(seed).integers(0, 4, (HEIGHT, WIDTH), dtype=np.uint8)


def save(path: Path, pixels: np.ndarray | Image.Image, **options) -> Path:
    image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
    image.save(path, **options)
    return path


def save_cv2(path: Path, pixels: np.ndarray) -> Path:
    """Write an array, RGB or RGBA, with OpenCV, which writes 16 bits in colour."""
    order = {3: [2, 1, 0], 4: [2, 1, 0, 3]}
    assert cv2.imwrite(str(path), pixels if pixels.ndim == 2 else pixels[..., order[pixels.shape[2]]])
    return path


def turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = ORIENTATION
    return exif


def png(path: Path, rows: bytes, width: int, height: int, bits: int, kind: int = 0) -> Path:
    """A png whose header says what it likes; ``rows`` are packed samples without filter bytes."""
    stride = len(rows) // height if rows else 0
    filtered = b''.join(b'\0' + rows[n * stride : (n + 1) * stride] for n in range(height if rows else 0))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', width, height, bits, kind, 0, 0, 0)
    path.write_bytes(
        b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(filtered)) + chunk(b'IEND', b'')
    )
    return path


def packed(values: np.ndarray, bits: int) -> bytes:
    """Samples of 1 to 16 bits, the highest bit first; each row begins with a byte."""
    each = (values[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(each.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def tiff(path: Path, data: bytes, *, bits: int, photometric: int = 1) -> Path:
    """An uncompressed tiff of one channel, with one strip."""
    tags = {256: WIDTH, 257: HEIGHT, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: HEIGHT, 279: len(data)}
    place = 8 + len(data) + len(data) % 2
    entries = b''.join(struct.pack('<HHII', tag, 4, 1, value) for tag, value in tags.items())
    end = struct.pack('<H', len(tags)) + entries + struct.pack('<I', 0)
    path.write_bytes(b'II*\0' + struct.pack('<I', place) + data + b'\0' * (len(data) % 2) + end)
    return path


def cmyk_jpeg(path: Path, transform: int) -> Path:
    """A jpeg of four inks as Adobe's programs write it; ``transform`` 2 says that they are stored as YCCK."""
    smooth = cv2.resize(colours(channels=4)[:3, :4], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    save(path, Image.frombytes('CMYK', (WIDTH, HEIGHT), smooth.tobytes()), quality=100)
    data = bytearray(path.read_bytes())
    place = data.index(b'Adobe') + 11
    assert data[place] == 0
    data[place] = transform
    path.write_bytes(data)
    return path


def palette_png(path: Path, indices: np.ndarray, palette: list[int], **options) -> Path:
    image = Image.fromarray(indices)
    image = image.convert('L') if image.mode != 'L' else image
    image.putpalette(palette)
    assert image.mode == 'P'
    return save(path, image, **options)


def cut(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path
