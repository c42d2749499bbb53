"""What a pipeline does with an image, tried on one image after another."""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np

from ..datasets.transforms import image_loader
from ..errors import DataError, UserError
from ..registry import TRANSFORMS


class ImageSteps:
    """The steps of a pipeline that need an image alone: the one that reads it, and those that make the model's inputs of it.

    The latter depend on the size alone: each size is tried once, on a black image.

    Args:
        pipeline: A pipeline, compiled where possible.
        not_checked: Why the pipeline is not compiled; its other steps than the reading one are left out then.
    """

    def __init__(self, pipeline: list[dict[str, Any]], not_checked: str = ''):
        self.not_checked = not_checked
        self.load = image_loader(pipeline)
        kinds = [] if not_checked else [(step, TRANSFORMS.get(step['type'])) for step in pipeline]
        self.resize = [TRANSFORMS.build(step) for step, kind in kinds if tuple(getattr(kind, 'needs', ())) == ('img',)]
        self._taken: set[tuple[int, int]] = set()
        self._lock = Lock()  # tokenizers within processors belong to one thread

    def run(self, path: str, name: str) -> tuple[int, int, list[str]]:
        """Read an image and try its size.

        Args:
            path: The image.
            name: Name of the sample, for errors.

        Returns:
            Height, width, and what its owner should know.

        Raises:
            DataError: if a step refuses it.
        """
        notes: list[str] = []
        results: Any = self.load({'img_path': path, 'sample_id': name, 'notes': notes})
        height, width = results['img'].shape[:2]
        with self._lock:
            if (height, width) not in self._taken:
                black = np.zeros((height, width, 3), np.uint8)
                self._try({'img': black, 'img_path': path, 'sample_id': name})
                self._taken.add((height, width))
        return height, width, notes

    def _try(self, results: dict[str, Any]) -> None:
        for step in self.resize:
            try:
                step(results)
            except DataError:
                raise
            except UserError as error:  # a processor that is not there
                self.not_checked = str(error).splitlines()[0]
