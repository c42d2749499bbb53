"""The files of an answer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from .answers import Answer
from .asking import check_folder, free_stem


def save_answer(answer: Answer, folder: str | Path, *, stem: str | None = None) -> list[Path]:
    """Write the masks as PNG (0 and 255) and an overlay; files of other answers stay as they are.

    Args:
        answer: The answer, with its image.
        folder: The folder of the files.
        stem: The beginning of their names; by default that of the image's file.

    Returns:
        The files: ``<image>_mask_<k>.png`` for each mask, then ``<image>_overlay.png``; where such files are there already,
        ``<image>_2_mask_<k>.png`` and so on.
    """
    folder = check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = free_stem(folder, stem or Path(answer.name).stem or 'image')
    files = []
    for k, mask in enumerate(answer.masks):
        path = folder / f'{stem}_mask_{k}.png'
        _write_new(path, mask.astype(np.uint8) * 255)
        files.append(path)
    overlay = folder / f'{stem}_overlay.png'
    _write_new(overlay, answer.overlay())
    return [*files, overlay]


def _write_new(path: Path, pixels: np.ndarray) -> None:
    with path.open('xb') as file:  # another process may have taken the name since
        Image.fromarray(pixels).save(file, 'PNG')
