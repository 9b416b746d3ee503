"""The ``linear-classes`` head: which of several classes an image shows, by one matrix product.

``head.safetensors`` holds ``weight`` (K, F) and ``bias`` (K): standardisation and temperature are
folded in, so ``softmax(weight . row + bias)`` reads as probabilities. The manifest adds ``classes``
(K names, ``good`` may be one of them) and ``features`` (see ``pooling``).

With ``good`` among the classes the score is 1 - P(good). Without it every image shows a defect of
one kind or another: then the score is the largest probability, and the threshold is 0, so that the
verdict is always ``fail``.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.geometry import Window
from xingyue_models.surface_inspection.heads import Taps, WindowAnswer
from xingyue_models.surface_inspection.manifest import GOOD, HeadSpec
from xingyue_models.surface_inspection.pooling import Pooling
from xingyue_models.surface_inspection.tensors import check_shape, read_tensors

KIND = "linear-classes"


class LinearHead:
    def __init__(
        self,
        spec: HeadSpec,
        pooling: Pooling,
        weight: NDArray[np.float32],
        bias: NDArray[np.float32],
    ) -> None:
        self._spec = spec
        self._pooling = pooling
        self._weight = weight
        self._bias = bias
        self._good = spec.classes.index(GOOD) if GOOD in spec.classes else None

    @classmethod
    def load(cls, spec: HeadSpec, files: HeadFiles) -> LinearHead:
        return cls.of(spec, files, read_tensors(files, ("weight", "bias")))

    @classmethod
    def of(
        cls, spec: HeadSpec, files: HeadFiles, tensors: Mapping[str, NDArray[np.float32]]
    ) -> LinearHead:
        """From ``weight`` and ``bias`` of ``tensors``."""
        if len(spec.classes) < 2:
            raise InvalidRequest(f"a {spec.kind} head needs two classes or more", param="classes")
        pooling = Pooling.from_manifest(files.manifest)
        check_shape("weight", tensors["weight"], (len(spec.classes), pooling.width))
        check_shape("bias", tensors["bias"], (len(spec.classes),))
        return cls(spec, pooling, tensors["weight"], tensors["bias"])

    @property
    def spec(self) -> HeadSpec:
        return self._spec

    @property
    def taps(self) -> tuple[str, ...]:
        return self._pooling.read

    def nbytes(self) -> int:
        return self._weight.nbytes + self._bias.nbytes

    def answer(
        self,
        canvas: NDArray[np.float32],
        taps: Taps,
        places: Sequence[Window],
        more: NDArray[np.float32] | None = None,
    ) -> list[WindowAnswer]:
        """``more`` ``(N, K)``: logits from elsewhere, to be added."""
        rows = self._pooling.pool(canvas, taps, places)
        side = canvas.shape[-1]
        logits = rows @ self._weight.T + self._bias
        if more is not None:
            logits = logits + more
        answers = []
        for index, chances in enumerate(softmax(logits)):
            score = float(chances.max() if self._good is None else 1 - chances[self._good])
            own = {tap: taps[tap][index] for tap in self.taps}
            heat = functools.partial(self._heat, chances, score, own, places[index], side)
            answers.append(WindowAnswer(score, heat, probabilities=chances))
        return answers

    def _heat(
        self,
        chances: NDArray[np.float32],
        score: float,
        taps: Taps,
        place: Window,
        side: int,
    ) -> NDArray[np.float32]:
        """Where the evidence against ``good`` (else for the likeliest class) lies; its hottest cell
        has the image's score."""
        if self._good is None:
            top = int(chances.argmax())
            weights = self._weight[top] - np.delete(self._weight, top, axis=0).mean(axis=0)
        else:
            likeliest = np.where(np.arange(len(chances)) == self._good, -1, chances).argmax()
            weights = self._weight[int(likeliest)] - self._weight[self._good]
        found = np.maximum(self._pooling.evidence(weights, taps, place, side), 0)
        return np.asarray(found * (score / max(float(found.max()), 1e-9)), np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Along the last axis."""
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True), np.float32)
