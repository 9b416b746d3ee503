"""Average precision of boxes at an overlap of 0.5: all-point interpolation (PASCAL VOC 2010)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Corners = Sequence[float]


@dataclass(frozen=True, slots=True)
class Found:
    image: str
    score: float
    box: Corners


def iou(a: Corners, b: Corners) -> float:
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def matches(found: Sequence[Found], truth: Mapping[str, Sequence[Corners]]) -> list[bool]:
    """By falling score: whether each hits a true box that none before it has hit."""
    taken: set[tuple[str, int]] = set()
    hits = []
    for one in sorted(found, key=lambda each: -each.score):
        overlaps = [iou(one.box, box) for box in truth.get(one.image, ())]
        best = int(np.argmax(overlaps)) if overlaps else -1
        hit = best >= 0 and overlaps[best] >= 0.5 and (one.image, best) not in taken
        if hit:
            taken.add((one.image, best))
        hits.append(hit)
    return hits


def average_precision(found: Sequence[Found], truth: Mapping[str, Sequence[Corners]]) -> float:
    """In [0, 1]; nan where there is nothing to find."""
    total = sum(len(boxes) for boxes in truth.values())
    if total == 0:
        return float("nan")
    hits = np.cumsum(matches(found, truth))
    if not len(hits):
        return 0.0
    recall = np.concatenate([[0.0], hits / total])
    precision = np.concatenate([[1.0], hits / np.arange(1, len(hits) + 1)])
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * precision[1:]))
