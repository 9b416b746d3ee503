"""Method ``segmentation``: a thin network on patches, fitted on masks or boxes.

Cells are drawn so that good and defective weigh alike, and every label alike among the defective;
the mean evidence of unseen images then gives the score its scale. A box marks all that it covers,
so heads fitted on boxes are coarser.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from xingyue_adapters.datasets import ImageSample, read_mask
from xingyue_adapters.surface_tuning.cells import Labelled
from xingyue_adapters.surface_tuning.features import TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import Segmentation
from xingyue_models.surface_inspection.geometry import Geometry, Window, resize
from xingyue_models.surface_inspection.patch_head import DistanceScale
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.pooling import covered_shape
from xingyue_models.surface_inspection.scoring import pixel_evidence
from xingyue_models.surface_inspection.segmentation_head import cell_logits, defect_logits
from xingyue_models.surface_inspection.views import turned

GRID = PatchGrid(("f4", "f8", "f16"), "f8", smooth=False)
_TRUE_SHARE = 0.25
"""A cell is defective from this share of its area on, so that hairlines are not lost."""


def geometry_of(settings: Segmentation) -> Geometry:
    return Geometry(settings.side, settings.windows_max, exposure=True, tight=True)


def truth_map(
    sample: ImageSample, labels: Sequence[str], size: tuple[int, int]
) -> NDArray[np.int8]:
    """``(height, width)`` at the given width and height; a defect without outline is unknown."""
    width, height = size
    truth = np.zeros((height, width), np.int8)
    if not sample.defective:
        return truth
    mask = read_mask(sample)
    if mask is not None:
        full = mask.astype(np.uint8) * 255
        shrunk = full if full.shape == (height, width) else resize(full, width, height)
        truth[shrunk > 255 * _TRUE_SHARE] = labels.index(sample.label) + 1
        return truth
    if not sample.boxes:
        return np.full((height, width), -1, np.int8)
    across, down = width / max(sample.width, 1), height / max(sample.height, 1)
    for box in sample.boxes:
        rows = slice(int(box.y_min * down), max(int(np.ceil(box.y_max * down)), 1))
        columns = slice(int(box.x_min * across), max(int(np.ceil(box.x_max * across)), 1))
        truth[rows, columns] = labels.index(box.label) + 1
    return truth


def labels_of(samples: Sequence[ImageSample]) -> tuple[str, ...]:
    """The defect labels, those that only boxes name among them."""
    found = {s.label for s in samples if s.defective}
    found |= {box.label for s in samples for box in s.boxes}
    return tuple(sorted(found))


def window_views(
    runner: TrunkRunner,
    samples: Sequence[ImageSample],
    labels: Sequence[str],
    settings: Segmentation,
    *,
    views: int,
) -> list[Labelled]:
    geometry, found = geometry_of(settings), []
    known: tuple[int, int] = (-1, -1)
    truth = np.zeros((1, 1), np.int8)
    for seen in runner.windows(
        samples, geometry, GRID.taps, views=views, brightness=settings.brightness
    ):
        if known != (seen.sample, seen.view):
            known = (seen.sample, seen.view)
            width, height = seen.size[::-1] if seen.view >= 4 else seen.size
            truth = turned(truth_map(samples[seen.sample], labels, (width, height)), seen.view)
        patches = GRID.of(seen.batch, 0)
        rows, columns = covered_shape(patches.shape[:2], seen.place, geometry.side)
        own = _cells(truth, seen.place, rows, columns)
        inside = patches[:rows, :columns].astype(np.float16)
        found.append(Labelled(seen.sample, seen.view, inside, own))
    return found


def _cells(truth: NDArray[np.int8], place: Window, rows: int, columns: int) -> NDArray[np.int8]:
    """The label of each cell: the commonest defect in it, where defects fill enough of it."""
    part = truth[place.y0 : place.y1, place.x0 : place.x1]
    best = np.full((rows, columns), _TRUE_SHARE, np.float32)
    cells = np.zeros((rows, columns), np.int8)
    for value in sorted(set(np.unique(part).tolist()) - {0}):
        share = (part == value).astype(np.float32)
        share = cv2.resize(share, (columns, rows), interpolation=cv2.INTER_AREA)
        cells[share >= best] = value
        best = np.maximum(best, share)
    return cells


def evidence(
    tensors: dict[str, NDArray[np.float32]], views: Sequence[Labelled], count: int
) -> NDArray[np.float64]:
    """``(count,)``: evidence of each sample's strongest window, view 0."""
    found = np.full(count, -np.inf)
    for view in views:
        if view.view == 0:
            logits = defect_logits(cell_logits(tensors, view.patches.astype(np.float32)))
            found[view.sample] = max(found[view.sample], pixel_evidence(logits))
    return found


def scale_of(found: NDArray[np.float64], defective: NDArray[np.bool_]) -> DistanceScale:
    """Logistic scale of evidence; where only one side is there, evidence 0 is even odds."""
    if defective.all() or not defective.any():
        return DistanceScale(1.0, 0.0)
    model = LogisticRegression(class_weight="balanced", C=1.0)
    model.fit(found[:, None], defective)
    return DistanceScale(max(float(model.coef_[0, 0]), 1e-3), float(model.intercept_[0]))
