"""Which question is asked about which image."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..errors import DataError
from .fetching import is_address
from .requests import ImageSource


def image_suffixes() -> set[str]:
    """The endings of image files that Pillow can open, such as '.jpg'."""
    Image.init()
    return {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}


def images_in(folder: str | Path) -> list[Path]:
    """The images in a folder and its subfolders, by their endings, in order of their names.

    Raises:
        DataError: if there are none.
    """
    known = image_suffixes()
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        found += [Path(parent) / name for name in files if Path(name).suffix.lower() in known and not name.startswith('.')]
    if not found:
        raise DataError(f'{folder} holds no image (jpg, png, ...). Give a folder of images.', file=folder)
    return sorted(found)


def pair(
    images: ImageSource | Sequence[ImageSource], questions: str | Sequence[str]
) -> tuple[list[tuple[ImageSource, str]], bool]:
    """Pair images with questions.

    Args:
        images: An image, a folder, or a list of images.
        questions: A question, or a list.

    Returns:
        (image, question) for each answer; True if a single image and a single question were given.

    Raises:
        DataError: for lists of unequal length, or an empty one.
    """
    shown = _images(images)
    asked = list(questions) if _is_list(questions) else questions
    for name, value in (('images', shown), ('questions', asked)):
        if isinstance(value, list) and not value:
            raise DataError(f'the list of {name} is empty; give at least one.')
    if isinstance(shown, list) and isinstance(asked, list):
        if len(shown) != len(asked):
            raise DataError(
                f'{len(shown)} images and {len(asked)} questions: lists are paired, so they must be equally long. To ask all '
                'questions about all images, repeat the images: [image for image in images for _ in questions].'
            )
        return list(zip(shown, asked, strict=True)), False
    if isinstance(shown, list):
        return [(image, asked) for image in shown], False  # pyright: ignore[reportReturnType] - checked when it is prepared
    if isinstance(asked, list):
        return [(shown, question) for question in asked], False
    return [(shown, asked)], True  # pyright: ignore[reportReturnType] - checked when it is prepared


def _is_list(value: object) -> bool:
    return isinstance(value, (list, tuple))


def _images(images: ImageSource | Sequence[ImageSource]) -> ImageSource | list[ImageSource]:
    if isinstance(images, (list, tuple)):
        return list(images)
    if isinstance(images, (str, Path)) and not is_address(images) and Path(images).is_dir():
        return list(images_in(images))
    return images  # pyright: ignore[reportReturnType] - another kind is refused when it is read
