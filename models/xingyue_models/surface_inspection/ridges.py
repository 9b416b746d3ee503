"""Thin dark lines at the picture's own scale: cracks, scratches, threads.

A bank of second derivatives of Gaussians, long in one direction (after Frangi et al., 1998, and
Deitsch et al., "Segmentation of photovoltaic module cells", 2021), over a picture whose background
and rows are levelled. Lines along the axes (busbars, edges of the part) are counted apart from
slanted ones.
"""

from __future__ import annotations

import functools

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

WIDTH = 1.8
"""Of a line, pixels: the deviation of the profile across it."""
LENGTHS = (5.4, 13.4)
"""Of a line, pixels: the deviation along it."""
DIRECTIONS = 12
GROUPS = ((0,), (1, 11), (2, 3, 4, 8, 9, 10), (5, 7), (6,))
"""Directions told apart: along rows, nearly so, slanted, nearly along columns, along columns."""
LEVELS = (2.5, 4.0, 6.0)
NUMBERS = len(LENGTHS) * (5 * len(GROUPS) + 4 + 4 * len(LEVELS))
_REACH = 40
"""Pixels that a filter reaches."""
_BACKGROUND = 20.0
_NOISE = 0.008
_TOP = 30
_EDGE = 8
Plane = NDArray[np.float32]


def ridge_numbers(grey: Plane) -> list[float]:
    """``grey`` ``(h, w)`` in [0, 1] -> ``NUMBERS``."""
    level = _levelled(grey)
    height, width = level.shape
    edge = _EDGE if min(height, width) > 6 * _EDGE else 0
    found = _responses(level)[:, :, edge : height - edge, edge : width - edge]
    numbers: list[float] = []
    for lines in found:
        for group in GROUPS:
            strongest = lines[list(group)].max(axis=0)
            numbers += _upper(strongest)
        middle = lines[::2].mean(axis=0)
        numbers += _upper(lines.max(axis=0) - middle)[:-1]
        slanted = np.delete(lines, (0, DIRECTIONS // 2), axis=0).max(axis=0)
        for threshold in LEVELS:
            numbers += _pieces(slanted > threshold)
    return numbers


def _upper(values: Plane) -> list[float]:
    """Median, 0.9, 0.99 and 0.997 quantile, and the mean of the strongest ``_TOP``."""
    ordered = np.sort(values, axis=None)
    ranks = [round(share * (values.size - 1)) for share in (0.5, 0.9, 0.99, 0.997)]
    return [*(float(ordered[rank]) for rank in ranks), float(ordered[-_TOP:].mean())]


def quantiles(values: NDArray[np.floating], shares: tuple[float, ...]) -> list[float]:
    """Of all values, by rank, without interpolation."""
    ordered = np.sort(values, axis=None)  # vectorised, so faster than a partition
    return [float(ordered[round(share * (values.size - 1))]) for share in shares]


def medians(plane: Plane, axis: int) -> Plane:
    """Along ``axis``, which is kept: the upper of two middle values."""
    middle = plane.shape[axis] // 2
    return np.asarray(np.sort(plane, axis=axis).take([middle], axis=axis))


def blurred(plane: Plane, sigma: float) -> Plane:
    """Gaussian; a wide one on the picture at a quarter of its size, which is far cheaper."""
    if sigma < 8 or min(plane.shape) < 32:
        found = cv2.GaussianBlur(plane, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        return np.asarray(found, np.float32)
    height, width = plane.shape
    small = cv2.resize(plane, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), sigma / 4, borderType=cv2.BORDER_REFLECT)
    return np.asarray(
        cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )


def _levelled(grey: Plane) -> Plane:
    """Without the background and the mean of each row, over the local contrast."""
    level = grey - blurred(grey, _BACKGROUND)
    level = level - medians(level, 1)
    contrast = np.sqrt(np.maximum(blurred(level * level, 1.5 * _BACKGROUND), 0)) + _NOISE
    return np.asarray(np.clip(level / contrast, -4, 4), np.float32)


def _responses(level: Plane) -> NDArray[np.float32]:
    """``(lengths, directions, h, w)``; two real filters are one complex one."""
    height, width = level.shape
    rows, columns = (-(-(size + 2 * _REACH) // 32) * 32 for size in level.shape)
    pads = (
        (_REACH, rows - height - _REACH),
        (_REACH, columns - width - _REACH),
    )
    padded = np.pad(level, pads, "symmetric").astype(np.complex64)
    spectrum = fft.fft2(padded)
    shape = (len(LENGTHS) * DIRECTIONS // 2, 2, height, width)
    found = np.empty(shape, np.float32)
    inside = (slice(_REACH, _REACH + height), slice(_REACH, _REACH + width))
    for index, pair in enumerate(_bank(rows, columns)):
        both = fft.ifft2(spectrum * pair, overwrite_x=True)[inside]
        found[index, 0], found[index, 1] = both.real, both.imag
    return found.reshape(len(LENGTHS), DIRECTIONS, height, width)


@functools.lru_cache(4)
def _bank(rows: int, columns: int) -> NDArray[np.complex64]:
    """Spectra of the filters, two to a plane."""
    y = ((np.arange(rows) + rows // 2) % rows - rows // 2)[:, None]
    x = ((np.arange(columns) + columns // 2) % columns - columns // 2)[None]
    filters = []
    for length in LENGTHS:
        for step in range(DIRECTIONS):
            angle = np.pi * step / DIRECTIONS
            along = x * np.cos(angle) + y * np.sin(angle)
            across = y * np.cos(angle) - x * np.sin(angle)
            bell = np.exp(-(across**2) / (2 * WIDTH**2) - along**2 / (2 * length**2))
            inside = np.hypot(along, across) < _REACH
            kernel = (across**2 / WIDTH**2 - 1) * bell * inside
            kernel -= kernel.sum() / inside.sum() * inside
            filters.append(kernel / np.sqrt((kernel**2).sum()))
    planes = np.stack(filters)
    return np.asarray(fft.fft2((planes[0::2] + 1j * planes[1::2]).astype(np.complex64)))


def _pieces(mask: NDArray[np.bool_]) -> list[float]:
    """Logarithms of the largest piece's area, the longest's extent, that of three, the count."""
    count, _, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if count < 2:
        return [0.0] * 4
    extents = np.sort(np.hypot(boxes[1:, cv2.CC_STAT_WIDTH], boxes[1:, cv2.CC_STAT_HEIGHT]))[::-1]
    sums = (boxes[1:, cv2.CC_STAT_AREA].max(), extents[0], extents[:3].sum(), count - 1)
    return [float(np.log1p(value)) for value in sums]
