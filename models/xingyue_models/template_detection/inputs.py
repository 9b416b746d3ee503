"""The trunk's input planes: image, template, what differs, and whether there is a template.

Two of the planes hold what differs even if an edge may lie ``EDGE_TOLERANCE_PX`` further: a board
that lies a pixel off, or is etched a little thinner, leaves fringes in the plain difference and
nothing there. Shared by serving and training, so that both see the same numbers.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

PLANES = 6
DIFFERENCE, FLAG = 2, 5
"""Places of the signed difference and of whether there is a template."""
EDGE_TOLERANCE_PX = 2
_FLAT_SPAN = 24.0


def normalise_grey(grey: NDArray[np.uint8]) -> Plane:
    """Grey levels stretched to [0, 1] between the 1st and the 99th percentile.

    A picture without contrast (a span under 24 levels) is left as it is: stretching would turn
    its noise into edges. Binarised pictures pass unchanged.
    """
    counts = np.bincount(grey.ravel(), minlength=256).cumsum()
    low, high = (float(np.searchsorted(counts, counts[-1] * q)) for q in (0.01, 0.99))
    if high - low < _FLAT_SPAN:
        low, high = 0.0, 255.0
    table = ((np.arange(256, dtype=np.float32) - low) / (high - low)).clip(0, 1)
    plane: Plane = table.astype(np.float32)[grey]
    return plane


def stack_planes(image: Plane, template: Plane | None) -> Plane:
    """(6, height, width) float32 in [-1, 1]: image, template, image - template, lighter than any
    template pixel near, darker than any, flag. Without a template the last five are 0."""
    planes = np.zeros((PLANES, *image.shape), np.float32)
    planes[0] = image * 2 - 1
    if template is not None:
        near = np.ones((2 * EDGE_TOLERANCE_PX + 1,) * 2, np.uint8)
        planes[1] = template * 2 - 1
        planes[DIFFERENCE] = image - template
        planes[3] = np.maximum(image - cv2.dilate(template, near), 0)
        planes[4] = np.maximum(cv2.erode(template, near) - image, 0)
        planes[FLAG] = 1.0
    return planes
