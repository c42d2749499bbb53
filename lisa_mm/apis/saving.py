"""The files of an answer."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from .answers import Answer
from .asking import check_folder, free_stem


def save_answer(answer: Answer, folder: str | Path, *, stem: str | None = None, replace: bool = False) -> list[Path]:
    """Write the answer's own masks as PNG (0 and 255), and an overlay of all of its conversation; other files stay as they are.

    Args:
        answer: The answer, with its image.
        folder: The folder of the files.
        stem: The beginning of their names; by default that of the image's file.
        replace: Write over files of that stem, which a run that was killed has left.

    Returns:
        The files: ``<image>_mask_<k>.png`` for each ``[SEG]`` of the answer, then ``<image>_overlay.png``; where such files are
        there already, ``<image>_2_mask_<k>.png`` and so on.
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
    return [*files, overlay]


def _write(path: Path, pixels: np.ndarray, mode: Literal['wb', 'xb']) -> None:
    with path.open(mode) as file:
        Image.fromarray(pixels).save(file, 'PNG')
