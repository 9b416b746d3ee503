"""A picture seen otherwise: turned, mirrored, cut, a little larger or smaller. A small crop is
another picture for each pixel more or less, so a part of a head may ask several of its views."""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

SMALL = 96
"""Longest side, pixels, of what is seen in several views."""
_CUT_MIN = 10
"""Shorter side, pixels, up to which nothing is cut off."""
_OTHERS = (
    (3, (0.05, 0.05, 0.05, 0.05), 1.06),
    (4, (0.1, 0.0, 0.1, 0.0), 0.94),
    (5, (0.0, 0.1, 0.0, 0.1), 1.0),
)
"""How the views after the first are turned; what is cut off above, below, left and right, shares of
the shorter side; their scale. Stored heads rely on these very views."""
VIEWS = 1 + len(_OTHERS)
Picture = NDArray[np.uint8]
Pixel = TypeVar("Pixel", bound=np.generic)


def views(rgb: Picture) -> list[Picture]:
    """``VIEWS`` of them, the first as it is; of a picture that is not small it alone."""
    if max(rgb.shape[:2]) > SMALL:
        return [rgb]
    side = min(rgb.shape[:2])
    others = (
        varied(turned(rgb, turn), tuple(round(share * side) for share in cuts), scale)
        for turn, cuts, scale in _OTHERS
    )
    return [rgb, *others]


def turned(rgb: NDArray[Pixel], view: int) -> NDArray[Pixel]:
    """View 0 is the image; 1 half a turn, 2 and 3 mirrored, 4 to 7 the same a quarter turn on.

    The aspect ratio stays for the first four.
    """
    seen = rgb
    if view % 4 in (1, 3):
        seen = seen[::-1]
    if view % 4 in (1, 2):
        seen = seen[:, ::-1]
    if view >= 4:
        seen = seen.swapaxes(0, 1)
    return np.ascontiguousarray(seen)


def varied(rgb: Picture, cuts: tuple[int, ...], scale: float) -> Picture:
    """Without so many pixels above, below, on the left and on the right, and resized."""
    height, width = rgb.shape[:2]
    if min(height, width) > _CUT_MIN:
        top, bottom, left, right = cuts
        rgb = rgb[top : height - bottom, left : width - right]
    size = (max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale)))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(rgb, size, interpolation=mode), np.uint8)
