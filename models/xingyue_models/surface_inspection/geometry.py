"""How an image becomes trunk input, and how a map comes back to the pixels of the image as sent.

An image is cut along its longer side into equal windows when it is much longer than wide (a
commutator of 500 x 1260 at one third of its size would lose cracks a few pixels wide), or, with
``tiled``, along both sides when it is larger than the canvas. Each window is scaled with its aspect
ratio kept and laid in the top left corner of the canvas; the rest of the canvas is mid-grey, which
the trunk sees as zero, or, with ``tight``, does not see at all. Training and serving share this
file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest

PAD_VALUE = 127
SCALE_MAX = 2.0
"""Tiny images are not blown up further than this, unless a head asks for it."""
_SCALE_LIMIT = 64.0
_REACH = 1.15
"""An image is not cut for being longer than the canvas by less than this factor."""
_SIDE_MULTIPLE = 32
_SIDE_MAX = 1024
_EXPOSURE_LOW, _EXPOSURE_HIGH = 16.0, 235.0
_EXPOSURE_GAIN_MAX = 4.0


@dataclass(frozen=True, slots=True)
class Geometry:
    """Input geometry of a head. Heads with equal geometry share one trunk pass.

    ``side``        canvas height and width, pixels, a multiple of 32
    ``windows_max`` most windows that one image is cut into
    ``exposure``    stretch grey levels of the whole image (1 % .. 99 %) before the trunk
    ``scale_max``   largest factor by which a small image is blown up, 1 to 64
    ``tight``       run the trunk on the part of the canvas that the window covers, rounded up to 32
                    pixels (a third less for 16:9), and decode a large JPEG no finer than that
                    needs; heads fitted before there was a choice see it all
    ``tiled``       cut along both sides, into the fewest windows that keep the image's own
                    resolution as well as ``windows_max`` of them can
    """

    side: int = 320
    windows_max: int = 4
    exposure: bool = True
    scale_max: float = SCALE_MAX
    tight: bool = False
    tiled: bool = False

    @property
    def longest(self) -> int:
        """Pixels along the longer side beyond which an image is finer than it is looked at."""
        return self.side * (self.windows_max if self.tight else max(2, self.windows_max))

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Geometry:
        """Read ``manifest["input"]``; ``InvalidRequest`` names the key that is wrong."""
        raw = manifest.get("input")
        if not isinstance(raw, Mapping):
            raise InvalidRequest("the head manifest lacks the object 'input'", param="input")
        side, windows = raw.get("side"), raw.get("windows_max", 1)
        if type(side) is not int or side % _SIDE_MULTIPLE or not 0 < side <= _SIDE_MAX:
            raise InvalidRequest(
                f"input.side must be a multiple of {_SIDE_MULTIPLE} up to {_SIDE_MAX}, "
                f"got {side!r}",
                param="input.side",
            )
        if type(windows) is not int or not 1 <= windows <= 16:
            raise InvalidRequest(
                f"input.windows_max must be 1 to 16, got {windows!r}", param="input.windows_max"
            )
        scale = raw.get("scale_max", SCALE_MAX)
        if (
            isinstance(scale, bool)
            or not isinstance(scale, int | float)
            or not (1 <= scale <= _SCALE_LIMIT)
        ):
            raise InvalidRequest(
                f"input.scale_max must be 1 to {_SCALE_LIMIT:g}, got {scale!r}",
                param="input.scale_max",
            )
        exposure, tight, tiled = (bool(raw.get(k, False)) for k in ("exposure", "tight", "tiled"))
        return cls(side, windows, exposure, float(scale), tight, tiled)

    def to_manifest(self) -> dict[str, Any]:
        return {
            "side": self.side,
            "windows_max": self.windows_max,
            "exposure": self.exposure,
            "scale_max": self.scale_max,
            "tight": self.tight,
            "tiled": self.tiled,
        }


@dataclass(frozen=True, slots=True)
class Window:
    """A part of the image, ``[x0, x1) x [y0, y1)`` in its pixels, and its size on the canvas."""

    x0: int
    y0: int
    x1: int
    y1: int
    width: int
    height: int


def windows(image_width: int, image_height: int, geometry: Geometry) -> list[Window]:
    """The windows of an image of that size, row by row."""
    columns, rows = _cuts(image_width, image_height, geometry)
    across, down = _edges(image_width, columns), _edges(image_height, rows)
    found = []
    for top, bottom in pairwise(down):
        for left, right in pairwise(across):
            width, height = right - left, bottom - top
            scale = min(geometry.side / width, geometry.side / height, geometry.scale_max)
            size = max(1, round(width * scale)), max(1, round(height * scale))
            found.append(Window(left, top, right, bottom, *size))
    return found


def _cuts(width: int, height: int, geometry: Geometry) -> tuple[int, int]:
    """Into how many columns and rows."""
    if not geometry.tiled:
        reach = _REACH * max(min(width, height), geometry.side)
        count = min(geometry.windows_max, max(1, math.ceil(max(width, height) / reach)))
        return (count, 1) if width >= height else (1, count)
    choices = [
        (columns, rows)
        for columns in range(1, min(geometry.windows_max, width) + 1)
        for rows in range(1, min(geometry.windows_max // columns, height) + 1)
    ]

    def rank(choice: tuple[int, int]) -> tuple[float, int]:
        columns, rows = choice
        scale = geometry.side / max(width / columns, height / rows)
        return -min(1.0, scale * _REACH), columns * rows

    return min(choices, key=rank)


def _edges(length: int, count: int) -> list[int]:
    return [round(index * length / count) for index in range(count + 1)]


def trimmed(place: Window, side: int) -> tuple[int, int]:
    """Height and width of the part of a canvas of ``side`` that holds the window, for a trunk that
    takes multiples of 32."""
    height, width = (
        math.ceil(x / _SIDE_MULTIPLE) * _SIDE_MULTIPLE for x in (place.height, place.width)
    )
    return min(height, side), min(width, side)


def expose(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Stretch the grey levels so that the 1st and 99th percentile lie at 16 and 235.

    The gain is bounded, so that the noise of a black frame is not blown up to full contrast.
    Shape is kept, ``(H, W, 3)`` or ``(H, W)``.
    """
    low, high = (float(v) for v in np.percentile(rgb[::2, ::2], (1, 99)))
    gain = min((_EXPOSURE_HIGH - _EXPOSURE_LOW) / max(high - low, 1.0), _EXPOSURE_GAIN_MAX)
    middle = (low + high) / 2
    table = (np.arange(256) - middle) * gain + (_EXPOSURE_LOW + _EXPOSURE_HIGH) / 2
    return np.asarray(cv2.LUT(rgb, np.clip(table, 0, 255).round().astype(np.uint8)), np.uint8)


def lay(rgb: NDArray[np.uint8], window: Window, side: int) -> NDArray[np.uint8]:
    """The canvas ``(side, side, 3)`` that holds the window."""
    part = rgb[window.y0 : window.y1, window.x0 : window.x1]
    canvas = np.full((side, side, 3), PAD_VALUE, np.uint8)
    canvas[: window.height, : window.width] = resize(part, window.width, window.height)
    return canvas


def resize(image: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Area averaging when shrinking, so thin defects fade instead of vanishing."""
    smaller = width < image.shape[1]
    mode = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=mode), np.uint8)


def unlay(
    maps: Sequence[NDArray[np.float32]],
    places: Sequence[Window],
    image_size: tuple[int, int],
    side: int,
    map_size: tuple[int, int],
) -> NDArray[np.float32]:
    """Join window maps (each ``(h, w)``, covering the canvas) into one map of the whole image.

    ``image_size`` is the width and height that ``places`` refer to, ``map_size`` those wanted.
    """
    width, height = map_size
    joined = np.zeros((height, width), np.float32)
    for values, place in zip(maps, places, strict=True):
        left, right = (round(x * width / image_size[0]) for x in (place.x0, place.x1))
        top, bottom = (round(y * height / image_size[1]) for y in (place.y0, place.y1))
        if right > left and bottom > top:
            joined[top:bottom, left:right] = cv2.resize(
                covered(values, place, side),
                (right - left, bottom - top),
                interpolation=cv2.INTER_LINEAR,
            )
    return joined


def covered(values: NDArray[np.float32], place: Window, side: int) -> NDArray[np.float32]:
    """Crop a canvas map ``(h, w)`` to the cells that the window covers, at least one."""
    height, width = values.shape
    rows = max(1, round(place.height * height / side))
    columns = max(1, round(place.width * width / side))
    return np.ascontiguousarray(values[:rows, :columns])
