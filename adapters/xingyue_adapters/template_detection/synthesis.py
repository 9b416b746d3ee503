"""Defects painted on defect-free boards: the six types of DeepPCB.

Opens, mouse bites and pin-holes take copper away; shorts, spurs and spurious copper are the same
three on the complement. A candidate counts only if the topology of its neighbourhood says so: an
open parts a conductor, a mouse bite must not, a pin-hole touches no edge.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.template_detection.dataset import LABELS

Mask = NDArray[np.bool_]

_CUT, _BITE, _HOLE = "cut", "bite", "hole"
_KINDS = {
    "open": (_CUT, False),
    "short": (_CUT, True),
    "mousebite": (_BITE, False),
    "spur": (_BITE, True),
    "pin-hole": (_HOLE, False),
    "copper": (_HOLE, True),
}
_WINDOW = 56
_ATTEMPTS = 12
# Pixels that DeepPCB's boxes leave before and after the changed pixels: medians over the fitted
# groups. The strokes drawn across an edge reach beyond what they change, hence more for those.
_MARGINS = {_CUT: (12, 10), _BITE: (11, 9), _HOLE: (10, 9)}


def paint_defects(
    board: NDArray[np.uint8],
    count: int,
    rng: np.random.Generator,
    taken: NDArray[np.float32] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.int64]]:
    """A copy of ``board`` (dark copper) with up to ``count`` defects, their boxes and labels.

    ``taken`` (n, 4): boxes that the defects keep clear of. The board needs 57 pixels a side.
    """
    copper = board < 128
    height, width = board.shape
    changed: list[tuple[Mask, int, int, bool]] = []
    boxes: list[list[float]] = []
    labels: list[int] = []
    occupied = np.zeros_like(copper)
    for left, top, right, bottom in () if taken is None else taken.astype(int).clip(0):
        occupied[top:bottom, left:right] = True
    for _ in range(count):
        label = int(rng.integers(len(LABELS)))
        kind, inverted = _KINDS[LABELS[label]]
        found = _find_patch(copper ^ inverted, occupied, kind, inverted, rng)
        if found is None:
            continue
        patch, x, y = found
        ys, xs = np.nonzero(patch)
        before, after = _MARGINS[kind]
        left, top = x + int(xs.min()) - before, y + int(ys.min()) - before
        right, bottom = x + int(xs.max()) + 1 + after, y + int(ys.max()) + 1 + after
        boxes.append([max(left, 0), max(top, 0), min(right, width), min(bottom, height)])
        labels.append(label)
        changed.append((patch, x, y, inverted))
        occupied[y : y + _WINDOW, x : x + _WINDOW] = True
    painted = board.copy()
    for patch, x, y, inverted in changed:
        painted[y : y + _WINDOW, x : x + _WINDOW][patch] = 0 if inverted else 255
    return painted, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)


def _find_patch(
    solid: Mask, occupied: Mask, kind: str, inverted: bool, rng: np.random.Generator
) -> tuple[Mask, int, int] | None:
    """The pixels to take from ``solid`` in a window, with the window's corner; None if unlucky."""
    height, width = solid.shape
    for _ in range(_ATTEMPTS):
        x = int(rng.integers(0, width - _WINDOW))
        y = int(rng.integers(0, height - _WINDOW))
        window = solid[y : y + _WINDOW, x : x + _WINDOW]
        if occupied[y : y + _WINDOW, x : x + _WINDOW].any() or not window.mean() > 0.04:
            continue
        centre = _pick_centre(window, kind, rng)
        if centre is None:
            continue
        shape = _stroke(window, centre, kind, rng)
        if shape is None:
            continue
        patch = shape & window
        if patch.sum() >= 12 and _has_topology(window, patch, kind, inverted):
            return patch, x, y
    return None


def _pick_centre(window: Mask, kind: str, rng: np.random.Generator) -> tuple[int, int] | None:
    """(x, y) in the middle part of the window: on an edge, on a ridge, or deep inside."""
    padded = np.pad(window, 1, mode="edge").astype(np.uint8)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1]
    if kind == _BITE:
        good = (depth > 0) & (depth <= 1.5)
    elif kind == _HOLE:
        good = depth >= 6
    else:
        good = (depth >= 2.5) & (depth <= 22) & (depth >= cv2.dilate(depth, np.ones((5, 5))) - 0.01)
    inner = slice(16, _WINDOW - 16)
    ys, xs = np.nonzero(good[inner, inner])
    if not len(ys):
        return None
    k = int(rng.integers(len(ys)))
    return int(xs[k]) + 16, int(ys[k]) + 16


def _stroke(
    window: Mask, centre: tuple[int, int], kind: str, rng: np.random.Generator
) -> Mask | None:
    """A ragged blob, or for a cut a band along the shortest way across."""
    canvas = np.zeros(window.shape, np.uint8)
    x, y = centre
    if kind == _CUT:
        angle = _crossing_angle(window, centre)
        if angle is None:
            return None
        angle += rng.normal(0, 0.25)
        reach = 27.0
        thickness = int(rng.integers(3, 14 if rng.random() < 0.75 else 34))
        tilt = rng.normal(0, 3, 4)
        ends = [
            (int(x - reach * np.cos(angle) + tilt[0]), int(y - reach * np.sin(angle) + tilt[1])),
            (int(x + tilt[2] / 2), int(y + tilt[3] / 2)),
            (int(x + reach * np.cos(angle) + tilt[2]), int(y + reach * np.sin(angle) + tilt[3])),
        ]
        cv2.polylines(canvas, [np.array(ends, np.int32)], False, 1, thickness)
        # Only the conductor under the centre is cut, not its neighbours along the line.
        _, parts = cv2.connectedComponents((canvas > 0).astype(np.uint8) & window.astype(np.uint8))
        return np.asarray(parts == parts[y, x]) if parts[y, x] else None
    points = [(x, y)]
    for _ in range(int(rng.integers(1, 4))):
        step = rng.normal(0, 4.5, 2)
        points.append((int(points[-1][0] + step[0]), int(points[-1][1] + step[1])))
    if len(points) == 2 or rng.random() < 0.3:
        axes = (int(rng.integers(3, 9)), int(rng.integers(3, 7)))
        cv2.ellipse(canvas, (x, y), axes, float(rng.integers(180)), 0, 360, 1, -1)
    cv2.polylines(canvas, [np.array(points, np.int32)], False, 1, int(rng.integers(3, 8)))
    return canvas > 0


def _crossing_angle(window: Mask, centre: tuple[int, int]) -> float | None:
    """The direction in which ``solid`` ends soonest on both sides; None if over 40 pixels."""
    x, y = centre
    best, best_length = None, 41.0
    for angle in np.arange(0, np.pi, np.pi / 12):
        length = 0.0
        for sign in (-1, 1):
            steps = np.arange(1, 28)
            xs = np.clip((x + sign * steps * np.cos(angle)).round().astype(int), 0, _WINDOW - 1)
            ys = np.clip((y + sign * steps * np.sin(angle)).round().astype(int), 0, _WINDOW - 1)
            outside = np.nonzero(~window[ys, xs])[0]
            length += float(outside[0]) if len(outside) else 40.0
        if length < best_length:
            best, best_length = float(angle), length
    return best


def _has_topology(window: Mask, patch: Mask, kind: str, inverted: bool) -> bool:
    before = _parts(window)
    after = _parts(window & ~patch)
    touches_edge = bool((cv2.dilate(patch.astype(np.uint8), np.ones((5, 5))) > 0)[~window].any())
    if kind == _CUT:
        # A band across a conductor's own hole parts the ground, but shorts nothing.
        return after > before and (not inverted or _parts(~window) > _parts(~window | patch))
    if kind == _BITE:
        return after == before and touches_edge and _parts(~window) == _parts(~window | patch)
    return not touches_edge


def _parts(mask: Mask) -> int:
    """Connected parts of at least 20 pixels: slivers at a window's rim do not count."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return int((stats[1:, cv2.CC_STAT_AREA] >= 20).sum())
