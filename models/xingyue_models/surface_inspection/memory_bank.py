"""The ``memory-bank`` head: distance of a patch to the nearest ones seen on good parts.

After PatchCore (Roth et al., CVPR 2022): a coreset of patch features, here standardised and
projected to few dimensions. ``head.safetensors`` holds ``projection`` (C, D), ``offset`` (D) and
``bank`` (M, D), float16; a patch ``x`` is compared as ``x @ projection - offset``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.manifest import HeadSpec
from xingyue_models.surface_inspection.patch_head import PatchHead
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.tensors import check_shape, read_tensors

KIND = "memory-bank"
TENSORS = ("projection", "offset", "bank")
BANK_MAX = 4096
NEIGHBOURS_MAX = 9


class MemoryBank:
    """Kept as float32: half precision has no fast product on a CPU."""

    def __init__(
        self,
        projection: NDArray[np.float32],
        offset: NDArray[np.float32],
        bank: NDArray[np.float32],
        neighbours: int = 1,
    ) -> None:
        self._projection = projection
        self._offset = offset
        self._bank = bank
        self._squares = np.einsum("ij,ij->i", bank, bank)
        self._neighbours = min(neighbours, len(bank))

    @property
    def width(self) -> int:
        """Channels of a patch that it reads."""
        return len(self._projection)

    def project(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(patches @ self._projection - self._offset, np.float32)

    def distance(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mean distance to the ``neighbours`` nearest of the bank."""
        found = self.project(patches)
        squares = found @ (self._bank.T * np.float32(-2))
        squares += self._squares
        if self._neighbours == 1:
            nearest = squares.min(axis=1)[:, None]
        else:
            nearest = np.partition(squares, self._neighbours - 1, axis=1)[:, : self._neighbours]
        nearest = nearest + np.einsum("ij,ij->i", found, found)[:, None]
        return np.asarray(np.sqrt(np.maximum(nearest, 0)).mean(axis=1), np.float32)

    def nbytes(self) -> int:
        return sum(a.nbytes for a in (self._projection, self._offset, self._bank, self._squares))


def load_memory_bank(spec: HeadSpec, files: HeadFiles) -> PatchHead:
    grid = PatchGrid.from_manifest(files.manifest)
    tensors = read_tensors(files, TENSORS)
    check_shape("projection", tensors["projection"], (grid.width, None))
    return PatchHead.from_manifest(spec, read_bank(tensors, files.manifest), files.manifest)


def read_bank(
    tensors: Mapping[str, NDArray[np.float32]], manifest: Mapping[str, Any]
) -> MemoryBank:
    """Of ``TENSORS``; ``InvalidRequest`` unless they fit one another."""
    check_shape("projection", tensors["projection"], (None, None))
    dimensions = tensors["projection"].shape[1]
    check_shape("offset", tensors["offset"], (dimensions,))
    check_shape("bank", tensors["bank"], (None, dimensions))
    if len(tensors["bank"]) > BANK_MAX:
        raise InvalidRequest(
            f"the bank has {len(tensors['bank'])} patches, at most {BANK_MAX} are taken",
            param="files",
        )
    neighbours = manifest.get("neighbours", 1)
    if type(neighbours) is not int or not 1 <= neighbours <= NEIGHBOURS_MAX:
        raise InvalidRequest(
            f"neighbours must be 1 to {NEIGHBOURS_MAX}, got {neighbours!r}", param="neighbours"
        )
    return MemoryBank(tensors["projection"], tensors["offset"], tensors["bank"], neighbours)
