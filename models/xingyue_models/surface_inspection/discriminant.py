"""Linear discriminants of the picture's own numbers (``appearance``): a part of a head (see
``joint_head``). Fisher's, with a shrunk covariance; they carry on where a kernel machine, which
knows only what is near its pictures, falls silent.

A small picture is another one for each pixel more or less, so it is seen in several views, whose
logits are averaged.

Tensors: ``discriminant.centre`` and ``discriminant.scale`` (A), ``discriminant.weight`` (A, K),
``discriminant.bias`` (K), A being ``appearance.NUMBERS`` or fewer (see
``comparison``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from xingyue_models.surface_inspection.comparison import check_comparison, squashed
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.heads import APPEARANCES
from xingyue_models.surface_inspection.tensors import check_shape

PART = "discriminant"
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Discriminant:
    """Logits are the mean over views of ``arcsinh((row - centre) / scale) @ weight``, plus
    ``bias``."""

    centre: Rows
    scale: Rows
    weight: Rows
    bias: Rows

    taps = (APPEARANCES,)

    @staticmethod
    def names() -> tuple[str, ...]:
        """Of the tensors, as they are stored."""
        return tuple(f"{PART}.{field.name}" for field in fields(Discriminant))

    @classmethod
    def of(cls, tensors: Mapping[str, Rows], classes: int) -> Discriminant:
        """``InvalidRequest`` names the tensor that does not fit."""
        found = cls(*(tensors[name] for name in cls.names()))
        check_comparison(PART, found.centre, found.scale)
        check_shape(f"{PART}.weight", found.weight, (len(found.centre), classes))
        check_shape(f"{PART}.bias", found.bias, (classes,))
        return found

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        return {f"{PART}.{field.name}": getattr(self, field.name) for field in fields(self)}

    def logits(self, taps: Mapping[str, Rows], places: Sequence[Window], side: int) -> Rows:
        """``(N, K)``: the views' numbers are read like a tap."""
        return self.of_views(taps[APPEARANCES])

    def scaled(self, share: float) -> Discriminant:
        """Counting by ``share``."""
        own = np.float32(share)
        return replace(self, weight=self.weight * own, bias=self.bias * own)

    def of_views(self, rows: Rows) -> Rows:
        """``(N, V, A)`` -> ``(N, K)``."""
        seen = squashed(rows, self.centre, self.scale).mean(axis=1)
        return np.asarray(seen @ self.weight + self.bias, np.float32)

    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))
