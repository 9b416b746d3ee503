"""Kinds of heads. A head is data; ``manifest["kind"]`` picks the class that reads it.

    conv-onnx            a small network over taps and the canvas: boxes and classes of defects
    linear-classes       pooled taps, one matrix product: which class the whole image shows
    kernel-classes       the same, and a comparison of the picture's own pixels with known pictures
    joint-classes        the same, with the parts that the manifest names, evidence of hairlines too
    memory-bank          distance of every patch to the nearest of good parts: a map of the strange
    memory-and-painted   the same, and a network that was taught what painted defects look like
    gaussian             the same map from the mean and covariance of good patches
    linear-segmentation  a thin network on every patch: boxes and classes of defects

Another kind adds one file with a class of the shape below and one line to ``_kinds``.
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
APPEARANCE = "appearance"
APPEARANCES = "appearances"
"""Read like taps: numbers of each window's own pixels, ``(N, appearance.NUMBERS)``; and those of
each of its views, ``(N, VIEWS, appearance.NUMBERS)``, the first being the window itself."""


@dataclass(frozen=True, slots=True)
class WindowAnswer:
    """What a head says about one window.

    ``score``    calibrated, in [0, 1]; an image has the highest score of its windows
    ``heat``     float32 ``(h, w)`` over the whole canvas, probability of a defect per cell; or what
    makes it, where only those who ask for the map should pay for it
    ``classes``  float32 ``(K, h', w')`` over the whole canvas, logits of the head's labels; None
    where the head names no place (then no parts of the heat map are reported as defects)
    ``probabilities``  float32 ``(K'',)``, of ``spec.classes``, of a head that tells classes apart
    """

    score: float
    heat: NDArray[np.float32] | Callable[[], NDArray[np.float32]]
    classes: NDArray[np.float32] | None = None
    probabilities: NDArray[np.float32] | None = None

    def heat_map(self) -> NDArray[np.float32]:
        return self.heat() if callable(self.heat) else self.heat


class SurfaceHead(Protocol):
    """Immutable once loaded; called from several threads at once."""

    @property
    def spec(self) -> HeadSpec: ...

    @property
    def taps(self) -> tuple[str, ...]:
        """Trunk outputs, ``APPEARANCE`` and ``APPEARANCES``, those that it reads; none of them if
        the canvas alone."""
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
    from xingyue_models.surface_inspection.gaussian import load_gaussian
    from xingyue_models.surface_inspection.joint_head import JOINT_KIND, KERNEL_KIND, JointHead
    from xingyue_models.surface_inspection.linear_head import LinearHead
    from xingyue_models.surface_inspection.memory_and_painted import load_memory_and_painted
    from xingyue_models.surface_inspection.memory_bank import load_memory_bank
    from xingyue_models.surface_inspection.segmentation_head import SegmentationHead

    return {
        "conv-onnx": ConvHead.load,
        "linear-classes": LinearHead.load,
        KERNEL_KIND: JointHead.load,
        JOINT_KIND: JointHead.load,
        "memory-bank": load_memory_bank,
        "memory-and-painted": load_memory_and_painted,
        "gaussian": load_gaussian,
        "linear-segmentation": SegmentationHead.load,
    }
