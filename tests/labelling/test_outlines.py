"""Polygons give the mask again, in both ways of drawing."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from lisa_mm.labelling import outlines
from lisa_mm.labelling.outlines import MOST_RINGS, polygons_of_mask

from .scenes import SHAPES, blob, shaped


def polygons(mask, **options):
    found = polygons_of_mask(mask, **options)
    assert found is not None
    return found


def drawn_by_opencv(drawn, shape):
    """Outline and fill, as the published program draws them."""
    mask = np.zeros(shape, np.uint8)
    for polygon in drawn:
        points = np.array([polygon], np.int32)
        cv2.polylines(mask, points, True, 1, 1)  # type: ignore - cv2 takes a number for a colour
        cv2.fillPoly(mask, points, 1)  # type: ignore - as above
    return mask == 1


def drawn_by_pillow(drawn, shape):
    """As labelme draws them."""
    mask = np.zeros(shape, bool)
    for polygon in drawn:
        alone = Image.fromarray(np.zeros(shape, np.uint8))
        ImageDraw.Draw(alone).polygon([(x, y) for x, y in polygon], outline=1, fill=1)
        mask |= np.asarray(alone) == 1
    return mask


def drawn_by_coco(drawn, shape):
    flat = [[float(value) for point in polygon for value in point] for polygon in drawn]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *shape))) == 1  # type: ignore - the stubs know whole numbers only


@pytest.mark.parametrize('kind', SHAPES)
def test_awkward_shapes(kind):
    mask = shaped(kind)
    for corners in (False, True):
        found = polygons_of_mask(mask, corners=corners)
        if kind in ('first pixel', 'checkerboard') or (kind == 'first four pixels' and not corners):
            assert found is None
            continue
        assert found is not None
        assert all(len(polygon) >= 3 for polygon in found)
        draws = (drawn_by_coco,) if corners else (drawn_by_opencv, drawn_by_pillow)
        assert all((draw(found, mask.shape) == mask).all() for draw in draws)


def test_points_of_a_square():
    assert sorted(polygons(shaped('square'), corners=False)[0]) == [[15, 10], [15, 19], [39, 10], [39, 19]]
    assert sorted(polygons(shaped('square'), corners=True)[0]) == [[15, 10], [15, 20], [40, 10], [40, 20]]
    assert polygons_of_mask(shaped('pixel'), corners=False) == [[[40, 30]] * 3]
    assert polygons_of_mask(shaped('empty'), corners=True) == []


def test_many_random_masks():
    rng = np.random.default_rng(0)
    for n in range(150):
        mask = rng.random(rng.integers(3, 30, 2)) < (0.05, 0.3, 0.5, 0.7, 0.9, 0.97)[n % 6]
        mask[-1, -1] = True
        for corners, draw in ((False, drawn_by_opencv), (True, drawn_by_coco)):
            assert (draw(polygons(mask, corners=corners, most_rings=10**6), mask.shape) == mask).all()


def test_too_many_parts_are_no_polygons():
    mask = np.zeros((60, 60), bool)
    mask[1::2, 1::2] = True  # 900 pixels of their own
    assert MOST_RINGS < 900
    assert polygons_of_mask(mask, corners=False) is None
    assert len(polygons(mask, corners=False, most_rings=900)) == 900


def test_a_drawing_that_differs_is_no_polygon(monkeypatch):
    monkeypatch.setattr(outlines, '_drawn', lambda polygons, shape, corners: np.zeros(shape, bool))
    assert polygons_of_mask(blob(), corners=False) is None


@pytest.mark.parametrize('corners', [False, True])
def test_tolerance_takes_points_away_within_the_limit(corners):
    disc = cv2.circle(np.zeros((200, 300), np.uint8), (150, 100), 80, 1, -1) > 0
    exact, few = (polygons(disc, corners=corners, tolerance=tolerance) for tolerance in (0, 1))
    assert len(few[0]) * 3 < len(exact[0])
    drawn = (drawn_by_coco if corners else drawn_by_opencv)(few, disc.shape)
    assert 0.97 < (drawn & disc).sum() / (drawn | disc).sum() < 1
    # a thin thing would lose too much: it stays exact
    ring = shaped('frame')
    assert (drawn_by_opencv(polygons(ring, corners=False, tolerance=30), ring.shape) == ring).all()
