"""The files of an answer."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from ..errors import DataError, UserError
from ..labelling import KINDS, item_of_answer, write_labels
from .answers import Answer
from .asking import check_folder, free_stem
from .fetching import is_address


def save_answer(
    answer: Answer, folder: str | Path, *, stem: str | None = None, replace: bool = False, page: bool = False
) -> list[Path]:
    """Write the answer's own masks as PNG (0 and 255), and an overlay of all of its conversation; other files stay as they are.

    Args:
        answer: The answer, with its image.
        folder: The folder of the files.
        stem: The beginning of their names; by default that of the image's file.
        replace: Write over files of that stem, which a run that was killed has left.
        page: Also write the overlay above the question and the answer, whose ``[SEG]`` are coloured like their masks.

    Returns:
        The files: ``<image>_mask_<k>.png`` for each ``[SEG]`` of the answer, then ``<image>_overlay.png``, perhaps
        ``<image>_page.png``; where such files are there already, ``<image>_2_mask_<k>.png`` and so on.
    """
    folder = check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = stem or Path(answer.name).stem or 'image'
    stem = stem if replace else free_stem(folder, stem)
    mode: Literal['wb', 'xb'] = 'wb' if replace else 'xb'  # another process may have taken a free name since
    files = []
    for k, mask in enumerate(answer.masks[answer.earlier :]):
        path = folder / f'{stem}_mask_{k}.png'
        _write(path, mask.astype(np.uint8) * 255, mode)
        files.append(path)
    overlay = folder / f'{stem}_overlay.png'
    _write(overlay, answer.overlay(), mode)
    files.append(overlay)
    if page:
        files.append(folder / f'{stem}_page.png')
        _write(files[-1], answer.page(), mode)
    return files


def check_labels(kind: str, folder: object, images: Sequence[object]) -> None:
    """Raise a UserError unless labels of a kind can be written into a folder for these images: files, not arrays or addresses."""
    if kind not in KINDS or folder is None:
        raise UserError(f'labels={kind!r} with out_dir={folder!r}; give one of {", ".join(KINDS)}, and a folder as out_dir.')
    for image in images:
        if not isinstance(image, (str, Path)) or is_address(image):
            name = repr(image) if isinstance(image, str) else f'a {type(image).__name__}'
            raise DataError(f'labels name the files of images, and an image is {name}. Give the path of a file.')


def save_labels(answers: Sequence[Answer], kind: str, folder: str | Path) -> list[Path]:
    """Write answers about image files as labels that annotation tools open.

    Args:
        answers: The answers.
        kind: One of :data:`lisa_mm.labelling.KINDS`.
        folder: Folder of the labels; those that are there stay.

    Returns:
        The files or folders to open.
    """
    paths = [Path(answer.name).resolve() for answer in answers]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    items = (
        item_of_answer({**answer.to_dict(), 'image': path.relative_to(root).as_posix()}, folder=root)
        for answer, path in zip(answers, paths, strict=True)
    )
    return write_labels(kind, items, folder, images=root)[0]


def _write(path: Path, pixels: np.ndarray, mode: Literal['wb', 'xb']) -> None:
    with path.open(mode) as file:
        Image.fromarray(pixels).save(file, 'PNG')
