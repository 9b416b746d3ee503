"""The trunk's input planes: image, template, their difference, and whether there is a template.

Shared by serving and training, so that both see the same numbers.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

PLANES = 4
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
    """(4, height, width) float32 in [-1, 1]; without a template its planes and the flag are 0."""
    planes = np.zeros((PLANES, *image.shape), np.float32)
    planes[0] = image * 2 - 1
    if template is not None:
        planes[1] = template * 2 - 1
        planes[2] = image - template
        planes[3] = 1.0
    return planes
