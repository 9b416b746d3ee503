"""The ``gaussian`` head: Mahalanobis distance of a patch to the patches of good parts.

After PaDiM (Defard et al., 2020), but with one Gaussian for all places, so that parts need not lie
still. ``head.safetensors`` holds ``whitening`` (C, D) and ``offset`` (D): the distance of a patch
``x`` is the length of ``x @ whitening - offset``, over the square root of D.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue_models.surface_inspection.manifest import HeadSpec
from xingyue_models.surface_inspection.patch_head import PatchHead
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.tensors import check_shape, read_tensors

KIND = "gaussian"


class Gaussian:
    def __init__(self, whitening: NDArray[np.float32], offset: NDArray[np.float32]) -> None:
        self._whitening = whitening
        self._offset = offset

    def distance(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        found = patches @ self._whitening - self._offset
        return np.asarray(np.sqrt(np.einsum("ij,ij->i", found, found) / found.shape[1]), np.float32)

    def nbytes(self) -> int:
        return self._whitening.nbytes + self._offset.nbytes


def load_gaussian(spec: HeadSpec, files: HeadFiles) -> PatchHead:
    grid = PatchGrid.from_manifest(files.manifest)
    tensors = read_tensors(files, ("whitening", "offset"))
    check_shape("whitening", tensors["whitening"], (grid.width, None))
    check_shape("offset", tensors["offset"], (tensors["whitening"].shape[1],))
    detector = Gaussian(tensors["whitening"], tensors["offset"])
    return PatchHead.from_manifest(spec, detector, files.manifest)
