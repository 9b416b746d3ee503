"""Evidence of hairlines: thin networks on every patch that were taught to tell lines painted over
good parts, dark and bright ones, from good surface (``surface_tuning.painting``).

A crack is a few cells long and a pixel wide: means over a picture hide it, and of the few cracks
that anyone photographed little can be learned. Here each cell is asked, and what counts is the mean
of the ``STRONGEST`` of each kind of line. Networks that saw other lines err otherwise, so a few of
them are asked.

Tensors of ``D`` networks (see ``segmentation_head``): ``hidden`` (D, C, H), ``hidden_bias``
(D, H), ``weight`` (D, H, 3) and ``bias`` (D, 3); ``classes`` (D, 2, K) and ``class_bias`` (K) turn
what they say into logits of the head's classes. Of one network alone the D may be left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.patch_head import smoothed, strongest_mean
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.pooling import covered_shape
from xingyue_models.surface_inspection.segmentation_head import TENSORS as NETWORK_TENSORS
from xingyue_models.surface_inspection.segmentation_head import cell_logits
from xingyue_models.surface_inspection.tensors import FILE_NAME, check_shape

PART = "hairlines"
GRID = PatchGrid(("f4", "f8", "f16"), "f4", smooth=False)
KINDS = 2
STRONGEST = 20
NETWORKS_MAX = 8
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
        found = {field.name: tensors[f"{PART}.{field.name}"] for field in fields(cls)}
        if found["bias"].ndim == 1:
            found |= {name: found[name][None] for name in (*NETWORK_TENSORS, "classes")}
        count = found["bias"].shape[0] if found["bias"].ndim else 0
        if not 1 <= count <= NETWORKS_MAX:
            raise InvalidRequest(
                f"{PART}.bias in {FILE_NAME} must be of 1 to {NETWORKS_MAX} networks", param="files"
            )
        check_shape(f"{PART}.hidden", found["hidden"], (count, GRID.width, None))
        width = found["hidden"].shape[2]
        shapes = {
            "hidden_bias": (count, width),
            "weight": (count, width, KINDS + 1),
            "bias": (count, KINDS + 1),
            "classes": (count, KINDS, classes),
            "class_bias": (classes,),
        }
        for name, shape in shapes.items():
            check_shape(f"{PART}.{name}", found[name], shape)
        return cls(**found)

    @property
    def networks(self) -> list[Network]:
        stacked = [getattr(self, name) for name in NETWORK_TENSORS]
        return [dict(zip(NETWORK_TENSORS, own, strict=True)) for own in zip(*stacked, strict=True)]

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        return {f"{PART}.{field.name}": getattr(self, field.name) for field in fields(self)}

    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))

    def logits(self, taps: Taps, places: Sequence[Window], side: int) -> Rows:
        """``(N, K)``; ``taps`` of ``N`` windows that lie on canvases of ``side`` pixels."""
        networks = self.networks
        rows = [evidence(networks, taps, index, place, side) for index, place in enumerate(places)]
        return self.of_evidence(np.stack(rows))

    def scaled(self, share: float) -> Hairlines:
        """Counting by ``share``."""
        own = np.float32(share)
        return replace(self, classes=self.classes * own, class_bias=self.class_bias * own)

    def of_evidence(self, rows: Rows) -> Rows:
        """``(N, D, KINDS)`` -> ``(N, K)``."""
        told = np.einsum("ndk,dkc->nc", rows, self.classes)
        return np.asarray(told + self.class_bias, np.float32)


def odds(networks: Sequence[Network], patches: Rows) -> list[list[Rows]]:
    """Of each network and each kind of line against good surface, smoothed, ``(rows, columns)``;
    ``patches`` ``(rows, columns, C)``."""
    found = []
    for network in networks:
        logits = cell_logits(network, patches)
        kinds = (logits[..., kind] - logits[..., 0] for kind in range(1, KINDS + 1))
        found.append([smoothed(np.ascontiguousarray(kind)) for kind in kinds])
    return found


def covered_patches(taps: Taps, index: int, place: Window, side: int) -> Rows:
    """``(rows, columns, C)`` of the cells of window ``index`` that its picture covers."""
    patches = GRID.of(taps, index)
    rows, columns = covered_shape(patches.shape[:2], place, side)
    return np.ascontiguousarray(patches[:rows, :columns])


def evidence(networks: Sequence[Network], taps: Taps, index: int, place: Window, side: int) -> Rows:
    """``(D, KINDS)``: how clearly the strongest cells of window ``index`` show each kind."""
    maps = odds(networks, covered_patches(taps, index, place, side))
    return np.array([[strongest_mean(m, STRONGEST) for m in kinds] for kinds in maps], np.float32)
