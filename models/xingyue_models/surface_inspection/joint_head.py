"""Classes told by several parts whose logits are added: a ``linear-classes`` head, and beside it

    kernel        a comparison of the picture's own pixels with known pictures (``kernel``)
    discriminant  linear discriminants of the picture's own pixels (``discriminant``)
    hairlines     evidence of thin lines (``hairlines``)

``kernel-classes`` has the first; ``joint-classes`` names its parts in the manifest's ``parts``.
Each part's tensors are in ``head.safetensors`` under its name. The heat map is the linear part's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection import discriminant, hairlines, kernel
from xingyue_models.surface_inspection.discriminant import Discriminant
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.hairlines import Hairlines
from xingyue_models.surface_inspection.heads import Taps, WindowAnswer
from xingyue_models.surface_inspection.kernel import Kernel
from xingyue_models.surface_inspection.linear_head import LinearHead
from xingyue_models.surface_inspection.manifest import HeadSpec
from xingyue_models.surface_inspection.tensors import read_tensors

KERNEL_KIND, JOINT_KIND = "kernel-classes", "joint-classes"
_PARTS: dict[str, type[Kernel] | type[Discriminant] | type[Hairlines]] = {
    kernel.PART: Kernel,
    discriminant.PART: Discriminant,
    hairlines.PART: Hairlines,
}


class Part(Protocol):
    """Immutable; adds its logits ``(N, K)``, its share and temperature folded in."""

    @property
    def taps(self) -> tuple[str, ...]: ...

    def logits(self, taps: Taps, places: Sequence[Window], side: int) -> NDArray[np.float32]: ...

    def nbytes(self) -> int: ...


class JointHead:
    def __init__(self, linear: LinearHead, parts: Sequence[Part]) -> None:
        self._linear = linear
        self._parts = parts
        self._taps = tuple(dict.fromkeys([*linear.taps, *(t for p in parts for t in p.taps)]))

    @classmethod
    def load(cls, spec: HeadSpec, files: HeadFiles) -> JointHead:
        kinds = [_PARTS[name] for name in _named(spec.kind, files.manifest)]
        names = [name for kind in kinds for name in kind.names()]
        tensors = read_tensors(files, ("weight", "bias", *names))
        parts = [kind.of(tensors, len(spec.classes)) for kind in kinds]
        return cls(LinearHead.of(spec, files, tensors), parts)

    @property
    def spec(self) -> HeadSpec:
        return self._linear.spec

    @property
    def taps(self) -> tuple[str, ...]:
        return self._taps

    def nbytes(self) -> int:
        return self._linear.nbytes() + sum(part.nbytes() for part in self._parts)

    def answer(
        self, canvas: NDArray[np.float32], taps: Taps, places: Sequence[Window]
    ) -> list[WindowAnswer]:
        side = canvas.shape[-1]
        more = np.sum([part.logits(taps, places, side) for part in self._parts], axis=0)
        return self._linear.answer(canvas, taps, places, more)


def _named(kind: str, manifest: Mapping[str, Any]) -> list[str]:
    if kind == KERNEL_KIND:
        return [kernel.PART]
    named = manifest.get("parts")
    known = ", ".join(_PARTS)
    if not isinstance(named, list) or not named or any(named.count(name) > 1 for name in named):
        raise InvalidRequest(f"parts must be a list of different ones of {known}", param="parts")
    for name in named:
        if not isinstance(name, str) or name not in _PARTS:
            raise InvalidRequest(
                f"part {name!r} of a head is not known; known are {known}", param="parts"
            )
    return named
