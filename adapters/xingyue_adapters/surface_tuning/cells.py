"""Cells of windows and what is known of them: what the thin networks are fitted on."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_tuning.features import PaintedOver
from xingyue_adapters.surface_tuning.painting import CHANGED_MIN
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.pooling import covered_shape

_BESIDE = 80
"""Cells drawn of a painted window well off the paint."""
_NEAR = np.ones((5, 5), np.uint8)
"""Cells that are neither: next to paint."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One window: ``patches`` ``(rows, columns, C)`` float16 and ``truth`` ``(rows, columns)``:
    0 good, 1 + label on a defect, -1 unknown. Of cells that were drawn there is one row."""

    sample: int
    view: int
    patches: NDArray[np.float16]
    truth: NDArray[np.int8]


def drawn_good(
    sample: int, view: int, cells: NDArray[np.float32], most: int, random: np.random.Generator
) -> Labelled:
    """``cells`` ``(n, C)`` of a window as it is."""
    drawn = cells[random.permutation(len(cells))[:most]].astype(np.float16)
    return Labelled(sample, view, drawn[None], np.zeros((1, len(drawn)), np.int8))


def drawn_painted(
    over: PaintedOver, grid: PatchGrid, side: int, most: int, random: np.random.Generator
) -> Labelled:
    """1 + kind on ``most`` cells of the paint, 0 well off it; ``side`` of the canvas, pixels."""
    patches = grid.of(over.seen.batch, 0)
    rows, columns = covered_shape(patches.shape[:2], over.seen.place, side)
    share = cv2.resize(over.changed, (columns, rows), interpolation=cv2.INTER_AREA)
    changed = (share > CHANGED_MIN).astype(np.uint8)
    on = random.permutation(np.flatnonzero(changed))[:most]
    off = random.permutation(np.flatnonzero(cv2.dilate(changed, _NEAR) == 0))[:_BESIDE]
    picked = np.concatenate([on, off])
    truth = np.zeros((1, len(picked)), np.int8)
    truth[0, : len(on)] = over.kind + 1
    flat = patches[:rows, :columns].reshape(rows * columns, -1)
    return Labelled(over.seen.sample, over.seen.view, flat[picked][None].astype(np.float16), truth)
