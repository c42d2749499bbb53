"""Judged questions as COCO results and the ground truth that belongs to them: other programs can score them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from ..errors import DataError
from .judged import Judged

CATEGORY = {'id': 1, 'name': 'target'}


def write_coco_results(judged: Iterable[Judged], path: str | Path) -> tuple[Path, Path]:
    """Write the predicted masks, and beside them ``<name>_ground_truth.json``; pycocotools reads both.

    Each question is an image of its own, numbered from 1: an expression of refCOCO asks for one object of its image, and the
    others are no targets of it. Every mask has the score 1.0 and the category 1. Targets without a pixel are left out, and so are
    ignored pixels of targets, which COCO has no place for. A predicted mask without a pixel stays: to COCO it hits nothing. An
    empty list of results, where no mask was predicted, is more than pycocotools' ``loadRes`` can read.

    ``sample_id``, ``row``, ``turn`` and ``answer`` stand beside, for :func:`.predictions.read_predictions`.

    Args:
        judged: Questions with their masks.
        path: The json of the results.

    Returns:
        Both paths.

    Raises:
        DataError: for questions that were kept without masks.
    """
    path = Path(path)
    results: list[dict[str, Any]] = []
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, one in enumerate(judged, 1):
        if one.masks is None or one.target_masks is None:
            raise DataError(f'{one.sample_id} row {one.row} was kept without masks: COCO results are made of masks.')
        key = {'sample_id': one.sample_id, 'row': one.row, 'turn': one.turn}
        name = Path(one.img_path).name if one.img_path else one.sample_id
        height, width = one.size
        images.append({'id': number, 'file_name': name, 'height': height, 'width': width, **key, 'question': one.question})
        said = {} if one.answer is None else {'answer': one.answer}
        entry = {'image_id': number, 'category_id': CATEGORY['id']}
        results += [{**entry, 'segmentation': mask, 'score': 1.0, **key, **said} for mask in one.masks]
        for mask in one.target_masks:
            area, box = int(coco_mask.area(mask)), coco_mask.toBbox(mask).tolist()  # pyright: ignore[reportArgumentType] - the stubs know bytes only
            if area:
                shape = {'segmentation': mask, 'area': area, 'bbox': box, 'iscrowd': 0}
                annotations.append({'id': len(annotations) + 1, **entry, **shape})
    truth = path.with_name(f'{path.stem}_ground_truth.json')
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {'info': {}, 'licenses': [], 'images': images, 'annotations': annotations, 'categories': [CATEGORY]}
    for file, content in ((path, results), (truth, whole)):
        file.write_text(json.dumps(content, ensure_ascii=False), encoding='utf-8')
    return path, truth
