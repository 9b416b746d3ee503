"""The ``linear-segmentation`` head: a thin network on every patch, 1x1 convolutions only.

``head.safetensors`` holds ``hidden`` (C, H), ``hidden_bias`` (H), ``weight`` (H, K + 1) and
``bias`` (K + 1): ``relu(x @ hidden + hidden_bias) @ weight + bias`` are the logits of good and of
the K labels. The defect logit of a cell is that of all labels together against good; the image's
evidence is the mean of its strongest cells (``scoring.pixel_evidence``), its score
``sigmoid(weight * evidence + bias)`` with the numbers of the manifest's ``calibration``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.heads import Taps, WindowAnswer
from xingyue_models.surface_inspection.manifest import HeadSpec
from xingyue_models.surface_inspection.patch_head import DistanceScale
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.pooling import covered_shape
from xingyue_models.surface_inspection.scoring import pixel_evidence, sigmoid
from xingyue_models.surface_inspection.tensors import check_shape, read_tensors

KIND = "linear-segmentation"
TENSORS = ("hidden", "hidden_bias", "weight", "bias")


class SegmentationHead:
    def __init__(
        self,
        spec: HeadSpec,
        grid: PatchGrid,
        tensors: dict[str, NDArray[np.float32]],
        scale: DistanceScale,
    ) -> None:
        self._spec = spec
        self._grid = grid
        self._tensors = tensors
        self._scale = scale

    @classmethod
    def load(cls, spec: HeadSpec, files: HeadFiles) -> SegmentationHead:
        grid = PatchGrid.from_manifest(files.manifest)
        tensors = read_tensors(files, TENSORS)
        check_network(tensors, grid.width, len(spec.labels) + 1)
        return cls(spec, grid, tensors, DistanceScale.from_manifest(files.manifest))

    @property
    def spec(self) -> HeadSpec:
        return self._spec

    @property
    def taps(self) -> tuple[str, ...]:
        return self._grid.taps

    def nbytes(self) -> int:
        return sum(values.nbytes for values in self._tensors.values())

    def answer(
        self, canvas: NDArray[np.float32], taps: Taps, places: Sequence[Window]
    ) -> list[WindowAnswer]:
        answers = []
        for index, place in enumerate(places):
            logits = cell_logits(self._tensors, self._grid.of(taps, index))
            defect = defect_logits(logits)
            rows, columns = covered_shape(defect.shape, place, canvas.shape[-1])
            inside = np.ascontiguousarray(defect[:rows, :columns])
            score = self._scale(np.array(pixel_evidence(inside), np.float32))
            kinds = np.ascontiguousarray(logits[..., 1:].transpose(2, 0, 1))
            answers.append(WindowAnswer(float(score), sigmoid(defect), kinds))
        return answers


def check_network(tensors: Mapping[str, NDArray[np.float32]], channels: int, outputs: int) -> None:
    """``InvalidRequest`` unless ``TENSORS`` lead from so many channels to so many logits."""
    check_shape("hidden", tensors["hidden"], (channels, None))
    width = tensors["hidden"].shape[1]
    check_shape("hidden_bias", tensors["hidden_bias"], (width,))
    check_shape("weight", tensors["weight"], (width, outputs))
    check_shape("bias", tensors["bias"], (outputs,))


def cell_logits(
    tensors: Mapping[str, NDArray[np.float32]], patches: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``(..., C)`` -> ``(..., K + 1)``, good first."""
    hidden = np.maximum(patches @ tensors["hidden"] + tensors["hidden_bias"], 0)
    return np.asarray(hidden @ tensors["weight"] + tensors["bias"], np.float32)


def defect_logits(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(..., K + 1)`` -> ``(...)``: log-odds of any defect."""
    kinds = logits[..., 1:]
    highest = kinds.max(axis=-1)
    together = highest + np.log(np.exp(kinds - highest[..., None]).sum(axis=-1))
    return np.asarray(together - logits[..., 0], np.float32)
