"""The ``kernel-classes`` head: a ``linear-classes`` head, and a kernel machine that compares the
picture's own numbers (``appearance``) with those of pictures that it knows.

``head.safetensors`` holds, beside ``weight`` and ``bias``, ``kernel.centre`` and ``kernel.scale``
(A), ``kernel.known`` (M, A), ``kernel.weight`` (M, K), ``kernel.bias`` (K), ``kernel.gamma`` (1),
A being ``appearance.NUMBERS``. Logits of both are added before the softmax. The heat map is the
linear part's: the kernel machine looks at the picture as a whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection import appearance
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.heads import APPEARANCE, Taps, WindowAnswer
from xingyue_models.surface_inspection.linear_head import LinearHead
from xingyue_models.surface_inspection.manifest import HeadSpec
from xingyue_models.surface_inspection.tensors import FILE_NAME, check_shape, read_tensors

KIND = "kernel-classes"
_PREFIX = "kernel."
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

    def check(self, numbers: int, classes: int) -> None:
        """``InvalidRequest`` names the tensor that does not fit."""
        shapes = {
            "centre": (numbers,),
            "scale": (numbers,),
            "known": (None, numbers),
            "weight": (len(self.known), classes),
            "bias": (classes,),
            "gamma": (1,),
        }
        for name, shape in shapes.items():
            check_shape(_PREFIX + name, getattr(self, name), shape)
        if self.gamma[0] <= 0 or (self.scale <= 0).any():
            raise InvalidRequest(
                f"kernel.gamma and kernel.scale in {FILE_NAME} must be above 0", param="files"
            )

    def tensors(self) -> dict[str, NDArray[np.generic]]:
        """As they are stored; ``known`` must be exact in 16 bits."""
        found = {_PREFIX + field.name: getattr(self, field.name) for field in fields(self)}
        return found | {_PREFIX + "known": self.known.astype(np.float16)}

    def logits(self, rows: Rows) -> Rows:
        """``(N, A)`` -> ``(N, K)``."""
        near = nearness(squashed(rows, self.centre, self.scale), self.known, float(self.gamma[0]))
        return np.asarray(near @ self.weight + self.bias, np.float32)

    def nbytes(self) -> int:
        return sum(getattr(self, field.name).nbytes for field in fields(self))


def squashed(rows: Rows, centre: Rows, scale: Rows) -> Rows:
    return np.asarray(np.arcsinh((rows - centre) / scale), np.float32)


def nearness(seen: Rows, known: Rows, gamma: float) -> Rows:
    """``(N, A)``, ``(M, A)`` -> ``(N, M)``, 1 where they are equal."""
    squares = (seen**2).sum(axis=1)[:, None] + (known**2).sum(axis=1)[None]
    return np.asarray(np.exp(-gamma * np.maximum(squares - 2 * seen @ known.T, 0)), np.float32)


class KernelHead:
    def __init__(self, linear: LinearHead, kernel: Kernel) -> None:
        self._linear = linear
        self._kernel = kernel

    @classmethod
    def load(cls, spec: HeadSpec, files: HeadFiles) -> KernelHead:
        names = [_PREFIX + field.name for field in fields(Kernel)]
        tensors = read_tensors(files, ("weight", "bias", *names))
        kernel = Kernel(*(tensors[name] for name in names))
        kernel.check(appearance.NUMBERS, len(spec.classes))
        return cls(LinearHead.of(spec, files, tensors), kernel)

    @property
    def spec(self) -> HeadSpec:
        return self._linear.spec

    @property
    def taps(self) -> tuple[str, ...]:
        return (*self._linear.taps, APPEARANCE)

    def nbytes(self) -> int:
        return self._linear.nbytes() + self._kernel.nbytes()

    def answer(
        self, canvas: NDArray[np.float32], taps: Taps, places: Sequence[Window]
    ) -> list[WindowAnswer]:
        more = self._kernel.logits(taps[APPEARANCE])
        return self._linear.answer(canvas, taps, places, more)
