"""Kinds of heads. A head is data; ``manifest["kind"]`` picks the class that reads it.

``conv-onnx`` is the one that ships. Another kind (memory bank, Gaussian, linear) adds one file with
a class of the shape below and one line to ``_kinds``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.manifest import HeadSpec, read_spec

Taps = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class WindowAnswer:
    """What a head says about one window.

    ``score``    calibrated, in [0, 1]; an image has the highest score of its windows
    ``heat``     float32 ``(h, w)`` over the whole canvas, probability of a defect per cell
    ``classes``  float32 ``(K, h', w')`` over the whole canvas, logits of the head's labels
    """

    score: float
    heat: NDArray[np.float32]
    classes: NDArray[np.float32]


class SurfaceHead(Protocol):
    """Immutable once loaded; called from several threads at once."""

    @property
    def spec(self) -> HeadSpec: ...

    @property
    def taps(self) -> tuple[str, ...]:
        """Trunk outputs that it reads; empty if it looks at the canvas alone."""
        ...

    def nbytes(self) -> int: ...

    def answer(
        self, canvas: NDArray[np.float32], taps: Taps, places: Sequence[Window]
    ) -> list[WindowAnswer]:
        """``canvas`` ``(N, 3, S, S)`` normalised, ``taps`` of the same N; one answer per window."""
        ...


Loader = Callable[[HeadSpec, HeadFiles], SurfaceHead]


def load(files: HeadFiles) -> SurfaceHead:
    """Read a head of any kind; ``InvalidRequest`` if the manifest or the files do not fit."""
    spec = read_spec(files.manifest)
    loader = _kinds().get(spec.kind)
    if loader is None:
        raise InvalidRequest(
            f"kind {spec.kind!r} of head is not known; known are {', '.join(sorted(_kinds()))}",
            param="kind",
        )
    return loader(spec, files)


def _kinds() -> dict[str, Loader]:
    # Imported here because each kind's file imports the shapes above.
    from xingyue_models.surface_inspection.conv_head import ConvHead

    return {"conv-onnx": ConvHead.load}
