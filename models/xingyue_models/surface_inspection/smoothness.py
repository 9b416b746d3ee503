"""Numbers of smooth places within a texture: bubbles, lifted or rubbed film, spilt glue.

How much grey levels vary about each pixel, at a fine and a coarse scale: quantiles of that, and
where it is next to nothing, how much of the picture that is, its largest piece, how wide it is.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_models.surface_inspection.ridges import blurred, quantiles

SIGMAS = (1.2, 3.2)
"""Of what counts as about a pixel, pixels."""
LEVELS = (0.02, 0.03, 0.05)
"""Deviations, shares of the full range, below which a place is smooth."""
NUMBERS = len(SIGMAS) * (5 + 4 + 2 * len(LEVELS) + 2)
_TINY = 1e-3
Plane = NDArray[np.float32]


def smoothness_numbers(grey: Plane) -> list[float]:
    """``grey`` ``(h, w)`` in [0, 1] -> ``NUMBERS``."""
    numbers: list[float] = []
    for sigma in SIGMAS:
        mean = blurred(grey, sigma)
        varied = np.sqrt(np.maximum(blurred(grey * grey, sigma) - mean * mean, 0))
        levels = quantiles(varied, (0.01, 0.1, 0.5, 0.9, 0.99))
        numbers += [float(np.log(level + _TINY)) for level in levels]
        numbers += [levels[rank] / (levels[2] + _TINY) for rank in (0, 1, 3, 4)]
        for level in LEVELS:
            numbers += _largest(varied < level)
        inside = cv2.distanceTransform((varied < LEVELS[1]).astype(np.uint8), cv2.DIST_L2, 3)
        widest = min(float(inside.max()), float(max(grey.shape)))  # all smooth: no border is near
        numbers += [widest, widest / min(grey.shape)]
    return numbers


def _largest(mask: NDArray[np.bool_]) -> list[float]:
    """Share of the picture, and logarithm of the pixels of the largest piece."""
    count, _, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    largest = int(boxes[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0
    return [float(mask.mean()), float(np.log1p(largest))]
