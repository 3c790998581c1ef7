"""Boxes and key points that move with their image, exactly: as coordinates, by the map that its pixels went through."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def to_corners(boxes: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    """Boxes of a format as x0, y0, x1, y1: shape (boxes, 4)."""
    if form == "XYXY":
        return boxes
    first, size = boxes[:, :2], boxes[:, 2:]
    corner = first - size / 2 if form == "CXCYWH" else first
    return np.concatenate([corner, corner + size], axis=1)


def from_corners(corners: NDArray[np.float64], form: str) -> NDArray[np.float64]:
    """The other way round."""
    if form == "XYXY":
        return corners
    first, size = corners[:, :2], corners[:, 2:] - corners[:, :2]
    return np.concatenate([first + size / 2 if form == "CXCYWH" else first, size], axis=1)


def moved_points(points: NDArray[np.float64], maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points, shape (points, 2), each by its own map, shape (points, 2, 3)."""
    return np.einsum("nij,nj->ni", maps[:, :, :2], points) + maps[:, :, 2]


def moved_boxes(boxes: NDArray[np.float64], maps: NDArray[np.float64], size: tuple[int, int], form: str) -> NDArray[np.float64]:
    """Boxes, each by its own map: what holds all four corners, cut at the edge of images of a size (height, width).

    One that lies outside comes out without area, at the edge.
    """
    x0, y0, x1, y1 = to_corners(boxes, form).T
    corners = [moved_points(np.stack([x, y], -1), maps) for x in (x0, x1) for y in (y0, y1)]
    low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)
    edge = np.array([size[1], size[0]], np.float64)
    return from_corners(np.concatenate([low.clip(0, edge), high.clip(0, edge)], axis=1), form)


def as_dtype(values: NDArray[np.float64], dtype: np.dtype) -> NDArray[Any]:
    """Coordinates as a field holds them: whole numbers are the nearest that the dtype has, in one without a sign 0 at the least."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    most = float(limits.max) if dtype.itemsize < 8 else float(2**62)  # The largest of 64 bits are no float64.
    return np.rint(values).clip(float(max(limits.min, -(2**62))), most).astype(dtype)
