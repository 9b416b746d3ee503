"""Defects painted over good parts: what a network learns cracks and stains from where few or none
were ever photographed.

After CutPaste (Li et al., CVPR 2021) and DRAEM (Zavrtanik et al., ICCV 2021), but painted on the
canvas that the trunk sees, so that a hairline is a pixel or two wide whatever the camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LINES = ("dark line", "bright line")
KINDS = (*LINES, "blot", "specks", "piece")
CHANGED_MIN = 0.03
"""Share of its brightness by which a cell must have changed to count as painted."""
_FINE = 2
"""Lines are drawn at twice the size: their width is in half pixels."""
_BLACK = 8.0
"""Grey levels that are added where shares of the brightness are taken: black has none."""
_SPOT_REACH = 2.5
"""Radii beyond which the uneven border of a spot hardly ever reaches."""
Canvas = NDArray[np.float32]
Mask = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Painted:
    """``canvas`` ``(h, w, 3)`` within 0 .. 255; ``changed`` ``(h, w)``, share of the brightness."""

    canvas: Canvas
    changed: Mask


def paint(canvas: Canvas, kind: str, random: np.random.Generator) -> Painted:
    """``canvas`` float32 ``(h, w, 3)``, 0 .. 255; ``kind`` is one of ``KINDS``."""
    if kind in LINES:
        painted = _lines(canvas, kind == "dark line", random)
    elif kind == "blot":
        painted = canvas.copy()
        _shade(painted, (0.01, 0.2), (0.1, 0.8), random)
    elif kind == "specks":
        painted = canvas.copy()
        for _ in range(int(random.integers(1, 10))):
            _shade(painted, (0.004, 0.02), (0.15, 0.9), random)
    else:
        painted = _piece(canvas, random)
    painted = np.clip(painted, 0, 255).astype(np.float32)
    changed = np.abs(painted - canvas).mean(axis=2) / (canvas.mean(axis=2) + _BLACK)
    return Painted(painted, np.asarray(changed, np.float32))


def _lines(canvas: Canvas, dark: bool, random: np.random.Generator) -> Canvas:
    """One to three wandering lines; what lies beside a dark one may be cut off and darker."""
    height, width = canvas.shape[:2]
    painted = canvas.copy()
    for _ in range(1 if random.uniform() < 0.6 else int(random.integers(2, 4))):
        path = _path(height, width, random)
        fine = np.zeros((height * _FINE, width * _FINE), np.float32)
        pixels = (path * _FINE).astype(np.int32)
        cv2.polylines(fine, [pixels], False, 1.0, int(random.integers(2, 5)), cv2.LINE_AA)
        fine = np.asarray(cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA))
        line = cv2.GaussianBlur(fine, (0, 0), random.uniform(0.5, 1.2))
        depth = random.uniform(0.08, 0.55) / max(float(line.max()), 1e-6)
        painted *= (1 - depth * line if dark else 1 + depth * line)[..., None]
        if dark and random.uniform() < 0.25:
            ends = path[[-1, 0]] + random.normal(0, width * 0.2, (2, 2))
            part = np.zeros((height, width), np.float32)
            cv2.fillPoly(part, [np.concatenate([path, ends]).astype(np.int32)], 1.0)
            beside = cv2.GaussianBlur(part, (0, 0), random.uniform(1, 6))
            painted *= (1 - random.uniform(0.1, 0.6) * beside)[..., None]
    return painted


def _path(height: int, width: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Points ``(n, 2)``, x and y, of a walk that keeps its direction more or less."""
    side = min(height, width)
    step = max(2.0, side / 40)
    count = int(np.ceil(random.uniform(0.08, 0.8) * side / step))
    turns = random.normal(0, random.uniform(0.03, 0.35), count)
    angles = random.uniform(0, 2 * np.pi) + np.cumsum(turns)
    steps = step * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    start = np.array([random.uniform(0, width), random.uniform(0, height)])
    return np.concatenate([start[None], start + np.cumsum(steps, axis=0)])


def _spot(
    canvas: Canvas, sizes: tuple[float, float], random: np.random.Generator
) -> tuple[tuple[slice, slice], Mask]:
    """Rows and columns of a box, and in it an uneven ellipse, 1 inside and 0 outside; ``sizes``: of
    its radius, shares of the side. Only the box is worked on: a speck is a few pixels wide."""
    height, width = canvas.shape[:2]
    radius = min(height, width) * np.exp(random.uniform(*np.log(sizes)))
    aspect, turn = np.exp(random.uniform(-0.8, 0.8)), random.uniform(0, np.pi)
    x, y = random.uniform(0, width), random.uniform(0, height)
    blur = max(0.4, radius * random.uniform(0.03, 0.3))
    reach = radius * max(aspect, 1 / aspect) * _SPOT_REACH + 3 * blur + 1
    top, left = (max(0, int(at - reach)) for at in (y, x))
    bottom, right = min(height, int(y + reach) + 1), min(width, int(x + reach) + 1)
    down, across = np.mgrid[top:bottom, left:right].astype(np.float32) - np.array(
        [[[y]], [[x]]], np.float32
    )
    along = (across * np.cos(turn) + down * np.sin(turn)) / (radius * aspect)
    beside = (down * np.cos(turn) - across * np.sin(turn)) / (radius / aspect)
    cell = max(2.0, radius * 0.5)
    shape = down.shape
    grid = random.normal(size=(int(shape[0] / cell) + 2, int(shape[1] / cell) + 2))
    rough = cv2.resize(grid.astype(np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC)
    inside = (np.hypot(along, beside) + 0.35 * rough < 1).astype(np.float32)
    mask = np.asarray(cv2.GaussianBlur(inside, (0, 0), blur), np.float32)
    return (slice(top, bottom), slice(left, right)), mask


def _shade(
    painted: Canvas,
    sizes: tuple[float, float],
    depths: tuple[float, float],
    random: np.random.Generator,
) -> None:
    """A spot, darker twice as often as brighter; a brighter one shows on black, too."""
    box, mask = _spot(painted, sizes, random)
    depth = random.uniform(*depths) * (-1 if random.uniform() < 2 / 3 else 1)
    painted[box] = (painted[box] + _BLACK) * np.exp(depth * mask)[..., None] - _BLACK


def _piece(canvas: Canvas, random: np.random.Generator) -> Canvas:
    """A piece of another place, perhaps mirrored and lit otherwise."""
    height, width = canvas.shape[:2]
    shift = int(random.integers(height)), int(random.integers(width))
    other = np.roll(canvas, shift, axis=(0, 1))
    other = other[:: random.choice((-1, 1)), :: random.choice((-1, 1))]
    box, mask = _spot(canvas, (0.02, 0.15), random)
    piece = other[box]
    if random.uniform() < 0.5:
        piece = piece * np.exp(random.uniform(-0.4, 0.4))
    painted = canvas.copy()
    painted[box] += mask[..., None] * (piece - painted[box])
    return painted
