"""From the head's dense output to boxes. Peaks as in CenterNet (Zhou et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

STRIDE = 8
_BOXES_MAX = 100
_OVERLAP_MAX = 0.5
_DIFFERENCE_MIN = 0.15


@dataclass(frozen=True, slots=True)
class Box:
    """``corners`` (x_min, y_min, x_max, y_max) in pixels of the network's input."""

    label: int
    score: float
    corners: tuple[float, float, float, float]


def find_boxes(output: NDArray[np.float32], classes: int, score_min: float) -> list[Box]:
    """``output`` (classes + 4, r, c): logits, then distances to the sides in strides."""
    heat = 1 / (1 + np.exp(-output[:classes]))
    window = np.ones((3, 3), np.uint8)
    found: list[Box] = []
    for label in range(classes):
        peaks = (heat[label] == cv2.dilate(heat[label], window)) & (heat[label] >= score_min)
        for row, column in np.argwhere(peaks):
            left, top, right, bottom = output[classes:, row, column]
            x, y = column + 0.5, row + 0.5
            corners = (x - left, y - top, x + right, y + bottom)
            score = float(heat[label, row, column])
            found.append(Box(label, score, tuple(float(c * STRIDE) for c in corners)))  # type: ignore[arg-type]
    return _suppress(sorted(found, key=lambda box: -box.score))


def _suppress(boxes: list[Box]) -> list[Box]:
    """Best first; one of a class that overlaps a better one of its class is dropped."""
    kept: list[Box] = []
    for box in boxes:
        if all(
            b.label != box.label or overlap(b.corners, box.corners) < _OVERLAP_MAX for b in kept
        ):
            kept.append(box)
        if len(kept) == _BOXES_MAX:
            break
    return kept


def keep_differing(boxes: list[Box], difference: NDArray[np.float32]) -> list[Box]:
    """Those that hold a pixel that differs from the template.

    ``difference`` (h, w) is image - template in [-1, 1]. What image and template share is no
    defect, however it looks: a picture against itself passes whatever is on it.
    """
    return [box for box in boxes if _differs(box, difference)]


def _differs(box: Box, difference: NDArray[np.float32]) -> bool:
    left, top, right, bottom = (max(0, round(corner)) for corner in box.corners)
    inside = np.abs(difference[top:bottom, left:right])
    return bool(inside.size) and float(inside.max()) > _DIFFERENCE_MIN


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    whole = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / whole
