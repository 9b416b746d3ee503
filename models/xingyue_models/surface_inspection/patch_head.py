"""One-class heads: how far every patch is from those of good parts, as a calibrated map.

    distance map -> smoothed over 3x3 -> sigmoid(weight * distance + bias)

The score of a window is the map at the mean distance of its ``strongest`` cells (a number of the
manifest, 1 where there is none): one odd cell of the grain does not fail a part, a few do. A window
that fails has a cell at least as hot, which is reported as a defect; the one label is the
manifest's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.heads import Taps, WindowAnswer
from xingyue_models.surface_inspection.manifest import HeadSpec
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.pooling import covered_shape
from xingyue_models.surface_inspection.scoring import sigmoid

STRONGEST_MAX = 256


class Detector(Protocol):
    def distance(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(P, C)`` patch features -> ``(P,)``, 0 is as good as it gets."""
        ...

    def nbytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class DistanceScale:
    """``sigmoid(weight * distance + bias)``; 0.5 is the distance ``-bias / weight``."""

    weight: float
    bias: float

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> DistanceScale:
        raw = manifest.get("calibration")
        weight, bias = (
            _number(raw.get(name)) if isinstance(raw, Mapping) else math.nan
            for name in ("weight", "bias")
        )
        if not (weight > 0 and math.isfinite(weight) and math.isfinite(bias)):
            raise InvalidRequest(
                "the head manifest needs 'calibration' with the numbers weight (above 0) and bias",
                param="calibration",
            )
        return cls(weight, bias)

    def __call__(self, distance: NDArray[np.float32]) -> NDArray[np.float32]:
        return sigmoid(np.asarray(distance * self.weight + self.bias))


class PatchHead:
    def __init__(
        self,
        spec: HeadSpec,
        grid: PatchGrid,
        detector: Detector,
        scale: DistanceScale,
        strongest: int = 1,
    ) -> None:
        self._spec = spec
        self._grid = grid
        self._detector = detector
        self._scale = scale
        self._strongest = strongest

    @classmethod
    def from_manifest(
        cls, spec: HeadSpec, detector: Detector, manifest: Mapping[str, Any]
    ) -> PatchHead:
        """``InvalidRequest`` names the key of ``manifest`` that is wrong."""
        strongest = manifest.get("strongest", 1)
        if type(strongest) is not int or not 1 <= strongest <= STRONGEST_MAX:
            raise InvalidRequest(
                f"strongest must be 1 to {STRONGEST_MAX} cells, got {strongest!r}",
                param="strongest",
            )
        grid, scale = PatchGrid.from_manifest(manifest), DistanceScale.from_manifest(manifest)
        return cls(spec, grid, detector, scale, strongest)

    @property
    def spec(self) -> HeadSpec:
        return self._spec

    @property
    def taps(self) -> tuple[str, ...]:
        return self._grid.taps

    def nbytes(self) -> int:
        return self._detector.nbytes()

    def answer(
        self, canvas: NDArray[np.float32], taps: Taps, places: Sequence[Window]
    ) -> list[WindowAnswer]:
        answers = []
        for index, place in enumerate(places):
            patches = self._grid.of(taps, index)
            found = distance_map(self._detector, patches, place, canvas.shape[-1])
            heat = np.zeros(patches.shape[:2], np.float32)
            rows, columns = found.shape
            heat[:rows, :columns] = self._scale(found)
            classes = np.zeros((len(self._spec.labels), 1, 1), np.float32)
            score = self._scale(np.array(strongest_mean(found, self._strongest), np.float32))
            answers.append(WindowAnswer(float(score), heat, classes))
        return answers


def distance_map(
    detector: Detector, patches: NDArray[np.float32], place: Window, side: int
) -> NDArray[np.float32]:
    """Smoothed distances ``(rows, columns)`` of the cells that the window covers.

    ``patches`` ``(h, w, C)`` of the whole canvas of ``side`` pixels.
    """
    rows, columns = covered_shape(patches.shape[:2], place, side)
    own = np.ascontiguousarray(patches[:rows, :columns]).reshape(rows * columns, -1)
    distances = detector.distance(own).reshape(rows, columns)
    return smoothed(distances)


def smoothed(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE), np.float32)


def strongest_mean(distances: NDArray[np.float32], count: int) -> float:
    """Mean of the ``count`` largest, or of all where there are fewer."""
    flat = distances.ravel()
    count = min(count, flat.size)
    return float(np.partition(flat, flat.size - count)[flat.size - count :].mean())


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    return float(value)
