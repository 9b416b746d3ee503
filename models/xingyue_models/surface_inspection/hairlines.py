"""Evidence of hairlines: a thin network on every patch that was taught to tell lines painted over
good parts, dark and bright ones, from good surface (``surface_tuning.painting``).

A crack is a few cells long and a pixel wide: means over a picture hide it, and of the few cracks
that anyone photographed little can be learned. Here each cell is asked, and what counts is the mean
of the ``STRONGEST`` of each kind of line.

Tensors: ``hidden`` (C, H), ``hidden_bias`` (H), ``weight`` (H, 3) and ``bias`` (3) of the network
(see ``segmentation_head``); ``classes`` (2, K) and ``class_bias`` (K) turn both numbers into logits
of the head's classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.patch_head import smoothed, strongest_mean
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.pooling import covered_shape
from xingyue_models.surface_inspection.segmentation_head import TENSORS as NETWORK_TENSORS
from xingyue_models.surface_inspection.segmentation_head import cell_logits, check_network
from xingyue_models.surface_inspection.tensors import check_shape

PART = "hairlines"
GRID = PatchGrid(("f4", "f8", "f16"), "f4", smooth=False)
KINDS = 2
STRONGEST = 20
Network = dict[str, NDArray[np.float32]]
"""``hidden``, ``hidden_bias``, ``weight`` and ``bias``."""
Taps = Mapping[str, NDArray[np.float32]]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Hairlines:
    hidden: Rows
    hidden_bias: Rows
    weight: Rows
    bias: Rows
    classes: Rows
    class_bias: Rows

    taps = GRID.taps

    @staticmethod
    def names() -> tuple[str, ...]:
        """Of the tensors, as they are stored."""
        return tuple(f"{PART}.{field.name}" for field in fields(Hairlines))

    @classmethod
    def of(cls, tensors: Mapping[str, Rows], classes: int) -> Hairlines:
        """``InvalidRequest`` names the tensor that does not fit."""
        found = cls(*(tensors[name] for name in cls.names()))
        check_network(found.network, GRID.width, KINDS + 1, prefix=f"{PART}.")
        check_shape(f"{PART}.classes", found.classes, (KINDS, classes))
        check_shape(f"{PART}.class_bias", found.class_bias, (classes,))
        return found

    @property
    def network(self) -> Network:
        return {name: getattr(self, name) for name in NETWORK_TENSORS}

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        return {f"{PART}.{field.name}": getattr(self, field.name) for field in fields(self)}

    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def logits(self, taps: Taps, places: Sequence[Window], side: int) -> Rows:
        """``(N, K)``; ``taps`` of ``N`` windows that lie on canvases of ``side`` pixels."""
        network = self.network
        rows = [evidence(network, taps, index, place, side) for index, place in enumerate(places)]
        return self.of_evidence(np.stack(rows))

    def of_evidence(self, rows: Rows) -> Rows:
        """``(N, KINDS)`` -> ``(N, K)``."""
        return np.asarray(rows @ self.classes + self.class_bias, np.float32)


def evidence(network: Network, taps: Taps, index: int, place: Window, side: int) -> Rows:
    """``(KINDS,)``: of window ``index``, how clearly the strongest cells show each kind of line."""
    patches = GRID.of(taps, index)
    rows, columns = covered_shape(patches.shape[:2], place, side)
    logits = cell_logits(network, np.ascontiguousarray(patches[:rows, :columns]))
    found = []
    for kind in range(1, KINDS + 1):
        odds = np.ascontiguousarray(logits[..., kind] - logits[..., 0])
        found.append(strongest_mean(smoothed(odds), STRONGEST))
    return np.array(found, np.float32)
