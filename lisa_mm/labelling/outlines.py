"""Masks as polygons that give the mask again, with their holes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from pycocotools import mask as coco_mask

MOST_RINGS = 100  # outlines and holes of a mask; nobody corrects more by hand
LEAST_IOU = 0.95  # of a mask and its simplified polygons

Polygon = list[list[int]]  # [[x, y], ...]
Point = tuple[int, int]


def polygons_of_mask(
    mask: np.ndarray, *, corners: bool, tolerance: float = 0.0, most_rings: int = MOST_RINGS
) -> list[Polygon] | None:
    """The parts of a mask as polygons. A hole is joined to its part's outline by a line that goes there and back.

    Readers draw polygons in two ways. labelme, and ReasonSeg with it, draws outline and fill through the centres of pixels; COCO
    fills between the corners of pixels. The polygons are drawn again in that way, and compared.

    Args:
        mask: (H, W) bool.
        corners: The coordinates are corners of pixels, as in COCO; otherwise centres.
        tolerance: How far, in pixels, a polygon may be from the border; 0 for polygons that give exactly the mask. Where the IoU
            would be below :data:`LEAST_IOU`, half of it, or else 0.
        most_rings: How many outlines and holes it may have.

    Returns:
        At least one polygon for each part, of 3 or more points; an empty list for an empty mask. None if polygons cannot hold the
        mask: it has more outlines and holes, drawing gives another mask, or all coordinates lie in 0..1,
        which readers take for shares of the image's sides.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    top, left = int(rows[0]), int(columns[0])
    inner = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    parts = _parts(inner, corners, most_rings)
    if parts is None:
        return None
    found = None
    for distance in (tolerance, tolerance / 2) if tolerance > 0 else ():
        few = [_few(part, distance) for part in parts]
        if _iou(_drawn(few, inner.shape, corners), inner) >= LEAST_IOU:
            found = few
            break
    if found is None:
        found = [_straight(part) for part in parts]
        if not (_drawn(found, inner.shape, corners) == inner).all():
            return None
    moved = [[[x + left, y + top] for x, y in polygon] for polygon in found]
    return None if all(value <= 1 for polygon in moved for point in polygon for value in point) else moved


def _parts(mask: np.ndarray, corners: bool, most_rings: int) -> list[list[Point]] | None:
    """A chain of neighbouring points around each part and its holes; None if there are too many."""
    values = mask.astype(np.uint8)
    if corners:  # every pixel as four: their centres lie next to its corners
        values = values.repeat(2, axis=0).repeat(2, axis=1)
    contours, hierarchy = cv2.findContours(values, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if len(contours) > most_rings:
        return None
    rings: list[list[Point]] = []
    for contour in contours:
        points = (contour[:, 0] + 1) // 2 if corners else contour[:, 0]
        kept = np.r_[True, (points[1:] != points[:-1]).any(1)]
        rings.append([(x, y) for x, y in points[kept].tolist()])
        if len(rings[-1]) > 1 and rings[-1][0] == rings[-1][-1]:
            rings[-1].pop()
    parents = np.asarray(hierarchy).reshape(-1, 4)[:, 3].tolist()
    return [
        _joined(ring, [hole for hole, owner in zip(rings, parents, strict=True) if owner == number])
        for number, (ring, parent) in enumerate(zip(rings, parents, strict=True))
        if parent < 0
    ]


def _joined(outline: list[Point], holes: list[list[Point]]) -> list[Point]:
    """One chain along an outline and its holes.

    From the leftmost point of a hole, the way to the left stays inside the part until it meets the outline or a hole that lies
    further left, which is in the chain already.
    """
    chain = outline
    for hole in sorted(holes, key=min):
        start = hole.index(min(hole))
        x, y = hole[start]
        places = {point: place for place, point in enumerate(chain)}
        while (x, y) not in places:
            x -= 1
            assert x >= 0
        place = places[x, y]
        chain = [*chain[: place + 1], *hole[start:], *hole[: start + 1], *chain[place:]]
    return chain


def _straight(chain: list[Point]) -> Polygon:
    """The chain without points in the middle of a straight line."""
    points = np.array(chain)
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    turns = before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]
    ends = (before * after).sum(1) <= 0
    return _three(points[turns | ends].tolist())


def _few(chain: list[Point], tolerance: float) -> Polygon:
    return _three(cv2.approxPolyDP(np.array(chain, np.int32), tolerance, True)[:, 0].tolist())


def _three(points: Polygon) -> Polygon:
    # a part of one pixel or one line; tools take no polygon of fewer points
    return [*points, *[points[-1]] * (3 - len(points))]


def _drawn(polygons: Sequence[Polygon], shape: tuple[int, ...], corners: bool) -> np.ndarray:
    """The polygons as readers draw them, (H, W) bool."""
    if not corners:  # as draw_shapes does, on one image for all: the parts of a large mask may be many
        mask = np.zeros(shape, np.uint8)
        for polygon in polygons:
            points = np.array([polygon], np.int32)
            cv2.polylines(mask, points, True, 1, 1)  # type: ignore - cv2 takes a number for a colour
            cv2.fillPoly(mask, points, 1)  # type: ignore - as above
        return mask == 1
    flat = [np.array(polygon, np.float64).ravel().tolist() for polygon in polygons]
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, *shape))) == 1  # type: ignore - the stubs know whole numbers only


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())
