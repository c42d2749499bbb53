"""What a folder of answers was made with, so that a second call goes on with the same or is refused."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..checkpoints.folder import EXPORT, FROZEN, META
from ..checkpoints.opening import ExportedModel, TrainingCheckpoint
from ..datasets.reading import read_json
from ..engine.lock import LOCK
from ..errors import UserError
from ..labelling.files import write_atomically
from ..models.decoding import AnswerOptions
from .loading import ReadyModel

RUN = 'run.json'  # marks the folder of a run over many images
FORMAT = 'lisa_mm answers 1'
_ENDS = 1 << 20  # bytes of each end of a file of weights that are compared


def identity_of(
    ready: ReadyModel, source: str | Path, question: str | None, options: AnswerOptions, *, raw: bool = False
) -> dict[str, Any]:
    """What decides the answers of a run; the device and the batch size do not.

    Args:
        ready: The model.
        source: The folder of the images, or the file of the questions.
        question: The question about all images; None for a file of questions.
        options, raw: How they are asked.
    """
    assert ready.opened is not None
    return {
        'format': FORMAT,
        'model': str(ready.opened.folder.resolve()),
        'weights': weights_identity(ready.opened),
        'config': hashlib.sha256(repr(ready.compiled.model.to_dict()).encode()).hexdigest(),
        'dtype': ready.dtype,
        'images': str(Path(source).resolve()),
        'question': question,
        'raw': raw,
        **asdict(options),
    }


def weights_identity(opened: TrainingCheckpoint | ExportedModel) -> str:
    """A hash that tells weights apart.

    For a training checkpoint it covers the hashes that the checkpoint records. For an exported folder it covers ``export.json``,
    and the size and both ends of each weights file.
    """
    digest = hashlib.sha256()
    for name in (META, FROZEN, EXPORT):
        if (opened.folder / name).is_file():
            digest.update((opened.folder / name).read_bytes())
    if isinstance(opened, ExportedModel):
        for path in sorted(opened.folder.glob('*.safetensors')):
            size = path.stat().st_size
            digest.update(f'{path.name} {size} '.encode())
            with path.open('rb') as file:
                digest.update(file.read(_ENDS))
                file.seek(max(0, size - _ENDS))
                digest.update(file.read(_ENDS))
    return digest.hexdigest()


def claim(out: Path, identity: Mapping[str, Any]) -> None:
    """Begin a run in a folder, or go on with it.

    Args:
        out: The folder of the answers, whose lock is held.
        identity: See :func:`identity_of`.

    Raises:
        UserError: if the folder holds a run of another identity, or other files.
    """
    path = out / RUN
    if not path.exists():
        others = sorted(entry.name for entry in out.iterdir() if entry.name != LOCK)
        if others:
            raise UserError(
                f'{out} holds other files ({others[0]}) and no run over many images. Give a folder of its own by --out.'
            )
        write_atomically(path, json.dumps(dict(identity), indent=1, ensure_ascii=True) + '\n')
        return
    before = read_json(path)
    if not isinstance(before, dict) or before.get('format') != FORMAT:
        raise UserError(f'{path} is not one that this version wrote. Give another --out.')
    differ = [key for key in identity if before.get(key) != identity[key]]
    if differ:
        raise UserError(
            f'{out} holds the answers of another run: {_difference(before, identity, differ[0])}. Give another --out, or what '
            'that run was given.'
        )


def refuse_run(out: str | Path) -> None:
    """Raise a UserError if a folder holds a run over many images, which an answer to one does not belong to."""
    if (Path(out) / RUN).exists():
        raise UserError(f'{out} holds a run over many images ({RUN}). Give another --out for one image.')


def _difference(before: Mapping[str, Any], now: Mapping[str, Any], key: str) -> str:
    if key in ('weights', 'config'):
        return f'the {"weights" if key == "weights" else "config"} of {now["model"]} changed since'
    if key == 'question' and None in (before.get(key), now[key]):
        return 'it was asked one question about all images' if now[key] is None else 'its questions came from a file'
    return f'{key} was {before.get(key)!r} and is now {now[key]!r}'
