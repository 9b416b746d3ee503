"""Boards drawn from a seed: traces, pads and vias, dark copper on a light ground.

The look is DeepPCB's: binarised AOI pictures in which copper is black. Nothing is copied from it.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

COPPER = 0
GROUND = 255


def render_board(seed: int, size: int = 640) -> NDArray[np.uint8]:
    """A defect-free board, (size, size) uint8, the same for the same seed."""
    rng = np.random.default_rng(seed)
    board = np.full((size, size), GROUND, np.uint8)
    pitch = int(rng.integers(36, 72))
    width = int(rng.integers(8, max(10, pitch // 3)))
    if rng.random() < 0.4:
        _pour(board, rng, pitch, width)
    for lane in range(pitch // 2, size, pitch):
        _trace(board, rng, lane, width, pitch)
    for _ in range(int(rng.integers(3, 12))):
        _component(board, rng, pitch)
    if rng.random() < 0.5:
        board = np.ascontiguousarray(board.T)
    return board


def _trace(
    board: NDArray[np.uint8], rng: np.random.Generator, lane: int, width: int, pitch: int
) -> None:
    """One conductor along a lane with 45 degree jogs, ended by round pads with holes."""
    size = board.shape[0]
    x = int(rng.integers(0, size // 3))
    end = int(rng.integers(size // 2, size + 40))
    points = [(x, lane)]
    y = lane
    while x < end:
        x += int(rng.integers(40, 160))
        points.append((x, y))
        jog = int(rng.choice((-1, 0, 1))) * int(rng.integers(4, max(5, pitch // 3)))
        if abs(y + jog - lane) <= pitch // 3 - width // 4 and jog:
            x += abs(jog)
            y += jog
            points.append((x, y))
    cv2.polylines(board, [np.array(points, np.int32)], False, COPPER, width)
    for px, py in (points[0], points[-1]):
        if rng.random() < 0.7:
            radius = min(width + int(rng.integers(2, 8)), pitch // 2 - 4)
            cv2.circle(board, (px, py), radius, COPPER, -1)
            if rng.random() < 0.6:
                cv2.circle(board, (px, py), max(2, radius // 3), GROUND, -1)


def _component(board: NDArray[np.uint8], rng: np.random.Generator, pitch: int) -> None:
    """A row of square pads on cleared ground, or a via."""
    size = board.shape[0]
    x, y = (int(v) for v in rng.integers(20, size - 120, 2))
    if rng.random() < 0.3:
        radius = int(rng.integers(8, 18))
        cv2.circle(board, (x, y), radius + 10, GROUND, -1)
        cv2.circle(board, (x, y), radius, COPPER, -1)
        cv2.circle(board, (x, y), radius // 3 + 1, GROUND, -1)
        return
    pads, wide, high = (int(rng.integers(*r)) for r in ((2, 5), (18, 60), (18, 60)))
    gap = int(rng.integers(12, 28))
    cv2.rectangle(board, (x - 12, y - 12), (x + pads * (wide + gap), y + high + 12), GROUND, -1)
    for k in range(pads):
        left = x + k * (wide + gap)
        cv2.rectangle(board, (left, y), (left + wide, y + high), COPPER, -1)


def _pour(board: NDArray[np.uint8], rng: np.random.Generator, pitch: int, width: int) -> None:
    """A copper area with clearances along the lanes, so that traces stay apart from it."""
    size = board.shape[0]
    x, y = (int(v) for v in rng.integers(0, size // 2, 2))
    wide, high = (int(v) for v in rng.integers(size // 4, size, 2))
    cv2.rectangle(board, (x, y), (x + wide, y + high), COPPER, -1)
    for lane in range(pitch // 2, size, pitch):
        cv2.line(board, (0, lane), (size, lane), GROUND, min(pitch - 6, width + pitch // 2))
