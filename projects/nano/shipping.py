"""The trained lisa_nano as a folder of the package, with an example to ask it about."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from lisa_mm.apis.shipped import SHIPPED
from lisa_mm.checkpoints.exporting import export_checkpoint
from lisa_mm.errors import UserError

IMAGE, QUESTIONS = 'example.jpg', 'example.json'


@dataclass(frozen=True)
class Example:
    """A scene of the demo's test split, with questions that the model answers well.

    Args:
        scene: Stem of its image.
        questions: Bare phrases or sentences.
    """

    scene: str
    questions: tuple[str, ...]


EXAMPLE = Example(
    'test_0081', ('the purple clock', 'which object could be kicked into a goal?', 'the item with a mast and a hull')
)


def ship(source: str | Path, data_root: str | Path, target: str | Path | None = None, *, example: Example = EXAMPLE) -> Path:
    """Write a trained model and its example into a folder of the package, in half precision; what was there is replaced.

    Args:
        source: Its work folder.
        data_root: The demo set, see ``tools/make_demo.py``.
        target: The folder; by default that of ``lisa_nano`` in the package.
        example: What is asked.

    Returns:
        The folder.

    Raises:
        UserError: if the scene is not in the demo set, or the source holds no trained model; the target stays as it was.
    """
    target = Path(target) if target is not None else SHIPPED['lisa_nano']
    image = Path(data_root) / 'reason_seg' / 'ReasonSeg' / 'test' / f'{example.scene}.jpg'
    if not image.is_file():
        raise UserError(f'{image} is missing: draw the demo set with tools/make_demo.py {data_root}.')
    fresh = target.with_name(f'.new_{target.name}')
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        export_checkpoint(source, fresh, layout='folder', dtype='float16')
        shutil.copyfile(image, fresh / IMAGE)
        asked = {'image': IMAGE, 'questions': list(example.questions)}
        (fresh / QUESTIONS).write_text(json.dumps(asked, indent=1) + '\n', encoding='utf-8')
        shutil.rmtree(target, ignore_errors=True)
        fresh.rename(target)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return target
