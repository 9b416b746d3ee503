"""Numbers of a picture at its own scale, which the trunk's fixed canvas blurs or blows up.

A crop of twenty pixels and a photo of three hundred are both read pixel by pixel (larger pictures
are shrunk to ``SIDE``): size; contrast, blobs, lines and edges of five scales; dark parts; rings
about the middle; local binary patterns (Ojala et al., 2002); long thin lines (``ridges``); smooth
places (``smoothness``). Colours and the shade of broad areas are left out: they differ from one
exposure, or module, to another, and the linear model has the colours. Training and serving share
this file.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_models.surface_inspection import ridges, smoothness
from xingyue_models.surface_inspection.ridges import blurred, quantiles
from xingyue_models.surface_inspection.views import VIEWS, views

SIDE = 320
"""Longest side that is read, pixels."""
SIGMAS = (0.7, 1.4, 2.8, 5.6, 11.2)
DARK = (0.1, 0.2, 0.3, 0.4, 0.5)
DARKER_THAN_MEDIAN = (0.3, 0.5, 0.7, 0.85)
RINGS = ((0.0, 0.35, 0.7, 1.0, 2.0), (0.0, 2.0, 4.0, 6.0, 8.0, 11.0))
"""Edges of rings: in shares of half the picture, and in pixels."""
NUMBERS = 6 + 20 * len(SIGMAS) + 36 + 18 + 10 + ridges.NUMBERS + smoothness.NUMBERS
_TINY = 1e-3
_NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1))
Plane = NDArray[np.float32]


def appearance(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """``(H, W, 3)`` -> ``(NUMBERS,)``, all finite."""
    height, width = rgb.shape[:2]
    small = _shrunk(rgb, SIDE).astype(np.float32) / 255
    grey = np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2GRAY), np.float32)
    middle = float(np.median(grey))
    numbers = _size(height, width)
    numbers += _scales(grey)
    numbers += _dark(grey, DARK) + _dark(grey / (middle + 0.02), DARKER_THAN_MEDIAN)
    numbers += _rings(grey, middle)
    numbers += _patterns(grey)
    numbers += ridges.ridge_numbers(grey)
    numbers += smoothness.smoothness_numbers(grey)
    return np.asarray(numbers, np.float32)


def appearances(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Of every view, ``(VIEWS, NUMBERS)``; the same over and over of a picture that has but one."""
    rows = np.stack([appearance(view) for view in views(rgb)])
    return rows if len(rows) == VIEWS else np.repeat(rows, VIEWS, axis=0)


def _shrunk(rgb: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = rgb.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return rgb
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)


def _size(height: int, width: int) -> list[float]:
    short, long = min(height, width), max(height, width)
    values = (height, width, height * width, long / short, short, long)
    return [float(np.log(value)) for value in values]


def _scales(grey: Plane) -> list[float]:
    """Of each band between two blurs: contrast and its shape; of each blur: lines and edges."""
    numbers: list[float] = []
    previous = grey
    for sigma in SIGMAS:
        smooth = blurred(grey, sigma)
        band = previous - smooth
        previous = smooth
        spread = float(band.std())
        unit = band / (spread + _TINY)
        square = unit * unit
        numbers += [smooth.min(), smooth.max(), smooth.std(), np.abs(band).mean(), spread]
        numbers += [(square * square).mean(), (square * unit).mean(), unit.min(), unit.max()]
        numbers += _curvature(smooth, sigma) + _edges(smooth)
    return [float(value) for value in numbers]


def _curvature(smooth: Plane, sigma: float) -> list[float]:
    """Eigenvalues of the Hessian: the larger is high on dark lines, the lower is low on bright."""
    across, down, mixed = (
        cv2.Sobel(smooth, cv2.CV_32F, *order) * (sigma * sigma)
        for order in ((2, 0), (0, 2), (1, 1))
    )
    half = np.sqrt(np.square(across - down) / 4 + mixed * mixed)
    mean = (across + down) / 2
    dark, bright = quantiles(mean + half, (0.5, 0.9, 0.99)), quantiles(mean - half, (0.1, 0.01))
    return [*dark, *bright, float(half.mean())]


def _edges(smooth: Plane) -> list[float]:
    """Strength of the gradient, and how far it has one direction (0 to 1)."""
    across, down = (cv2.Sobel(smooth, cv2.CV_32F, *order) for order in ((1, 0), (0, 1)))
    strength = np.hypot(across, down)
    xx, yy, xy = (across * across).mean(), (down * down).mean(), (across * down).mean()
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / (xx + yy + 1e-6)
    levels = quantiles(strength, (0.05, 0.95))
    return [float(strength.mean()), float(strength.std()), *levels, float(coherence)]


def _dark(grey: Plane, thresholds: tuple[float, ...]) -> list[float]:
    """Of the part below each threshold: its share, its largest piece, how many pieces."""
    numbers: list[float] = []
    for threshold in thresholds:
        mask = (grey < threshold).astype(np.uint8)
        count, _, boxes, _ = cv2.connectedComponentsWithStats(mask)
        largest = int(boxes[1:, cv2.CC_STAT_AREA].max()) if count > 1 else 0
        share, pieces = largest / grey.size, (count - 1) / np.sqrt(grey.size)
        numbers += [float(mask.mean()), float(np.log1p(largest)), share, float(pieces)]
    return numbers


def _rings(grey: Plane, middle: float) -> list[float]:
    """Mean against the median, and deviation, of rings; a ring without pixels has the whole's."""
    height, width = grey.shape
    y = np.arange(height)[:, None] - (height - 1) / 2
    x = np.arange(width)[None] - (width - 1) / 2
    radii = (np.hypot(y / (height / 2), x / (width / 2)), np.hypot(y, x))
    numbers: list[float] = []
    for radius, edges in zip(radii, RINGS, strict=True):
        rings = [(radius >= low) & (radius < high) for low, high in pairwise(edges)]
        parts = [grey[ring] if ring.any() else grey for ring in rings]
        numbers += [float(part.mean()) - middle for part in parts]
        numbers += [float(part.std()) for part in parts]
    return numbers


def _patterns(grey: Plane) -> list[float]:
    """Root of the share of each rotation-invariant uniform pattern of eight neighbours."""
    height, width = grey.shape
    padded = cv2.copyMakeBorder(grey, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    brighter = np.stack(
        [padded[1 + y : 1 + y + height, 1 + x : 1 + x + width] >= grey for y, x in _NEIGHBOURS]
    )
    changes = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0)
    code = np.where(changes <= 2, brighter.sum(axis=0), 9)
    return [float(v) for v in np.sqrt(np.bincount(code.ravel(), minlength=10) / code.size)]
