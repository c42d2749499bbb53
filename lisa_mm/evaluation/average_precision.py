"""AP50 of masks by pycocotools."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

RunLengths = dict[str, Any]
CATEGORY = 1


def average_precision(predicted: Sequence[Sequence[RunLengths]], targets: Sequence[Sequence[RunLengths]]) -> float | None:
    """AP at IoU 0.5 as COCO defines it: one category, every mask with score 1, at most 100 masks an image.

    With equal scores the order of images and masks decides which come first on the curve: it is the order given here.

    Args:
        predicted: Masks of each image as COCO run lengths.
        targets: Likewise.

    Returns:
        None if there is no target.
    """
    if not any(map(len, targets)):
        return None
    with redirect_stdout(io.StringIO()):  # it prints its progress
        evaluation = COCOeval(as_coco(targets), as_coco(predicted), 'segm')
        evaluation.params.iouThrs = evaluation.params.iouThrs[:1]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = evaluation.params.areaRng[:1], ['all']
        evaluation.params.maxDets = [100]
        evaluation.evaluate()
        evaluation.accumulate()
    return float(evaluation.eval['precision'].mean())


def as_coco(masks: Sequence[Sequence[RunLengths]]) -> COCO:
    """Masks of each image as COCO's annotations with score 1."""
    coco = COCO()
    annotations = [
        {
            'image_id': image,
            'category_id': CATEGORY,
            'segmentation': mask,
            'area': float(coco_mask.area(mask)),  # pyright: ignore[reportArgumentType] - the stubs know bytes only
            'iscrowd': 0,
            'score': 1.0,
        }
        for image, own in enumerate(masks)
        for mask in own
    ]
    sizes = [own[0]['size'] if own else (0, 0) for own in masks]  # of an image without masks nothing is read
    dataset: Any = {  # the stubs know files of COCO only
        'images': [{'id': image, 'height': height, 'width': width} for image, (height, width) in enumerate(sizes)],
        'annotations': [{'id': number, **annotation} for number, annotation in enumerate(annotations, 1)],
        'categories': [{'id': CATEGORY, 'name': 'object', 'supercategory': ''}],
    }
    coco.dataset = dataset
    coco.createIndex()
    return coco
