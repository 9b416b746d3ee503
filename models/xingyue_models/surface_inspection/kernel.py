"""A kernel machine that compares the picture's own numbers (``appearance``) with those of pictures
that it knows: a part of a head (see ``joint_head``).

Tensors: ``kernel.centre`` and ``kernel.scale`` (A), ``kernel.known`` (M, A), ``kernel.weight``
(M, K), ``kernel.bias`` (K), ``kernel.gamma`` (1), A being ``appearance.NUMBERS`` or fewer (see
``comparison``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.comparison import check_comparison, squashed
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.heads import APPEARANCE
from xingyue_models.surface_inspection.tensors import FILE_NAME, check_shape

PART = "kernel"
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Kernel:
    """Logits are sums over ``known`` rows ``(M, A)``, each weighed by how near it is:
    ``exp(-gamma * squared distance)`` times ``weight`` ``(M, K)``, plus ``bias`` ``(K,)``.

    Rows are compared after ``arcsinh((row - centre) / scale)``, which keeps outliers near.
    """

    centre: Rows
    scale: Rows
    known: Rows
    weight: Rows
    bias: Rows
    gamma: Rows

    taps = (APPEARANCE,)

    @staticmethod
    def names() -> tuple[str, ...]:
        """Of the tensors, as they are stored."""
        return tuple(f"{PART}.{field.name}" for field in fields(Kernel))

    @classmethod
    def of(cls, tensors: Mapping[str, Rows], classes: int) -> Kernel:
        """``InvalidRequest`` names the tensor that does not fit."""
        found = cls(*(tensors[name] for name in cls.names()))
        check_comparison(PART, found.centre, found.scale)
        check_shape(f"{PART}.known", found.known, (None, len(found.centre)))
        shapes = {"weight": (len(found.known), classes), "bias": (classes,), "gamma": (1,)}
        for name, shape in shapes.items():
            check_shape(f"{PART}.{name}", getattr(found, name), shape)
        if found.gamma[0] <= 0:
            raise InvalidRequest(f"{PART}.gamma in {FILE_NAME} must be above 0", param="files")
        return found

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """As they are stored; ``known`` must be exact in 16 bits."""
        found = {f"{PART}.{field.name}": getattr(self, field.name) for field in fields(self)}
        return found | {f"{PART}.known": self.known.astype(np.float16)}

    def logits(self, taps: Mapping[str, Rows], places: Sequence[Window], side: int) -> Rows:
        """``(N, K)``: the picture's numbers are read like a tap; where it lies is all one."""
        return self.of_numbers(taps[APPEARANCE])

    def scaled(self, share: float) -> Kernel:
        """Counting by ``share``."""
        own = np.float32(share)
        return replace(self, weight=self.weight * own, bias=self.bias * own)

    def of_numbers(self, rows: Rows) -> Rows:
        """``(N, A)`` -> ``(N, K)``."""
        near = nearness(squashed(rows, self.centre, self.scale), self.known, float(self.gamma[0]))
        return np.asarray(near @ self.weight + self.bias, np.float32)

    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))


def nearness(seen: Rows, known: Rows, gamma: float) -> Rows:
    """``(N, A)``, ``(M, A)`` -> ``(N, M)``, 1 where they are equal."""
    squares = (seen**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)[None]
    return np.asarray(np.exp(-gamma * np.maximum(squares - 2 * seen @ known.T, 0)), np.float32)
