"""The image scenario's work by hand: decode, resize, trunk, head, score, one image at a time.

The peer ``raw`` runs it in a loop and every served peer behind its server, so what lies between
them is the server alone. It is imported in the peers' own environments: OpenCV, NumPy and ONNX
Runtime, nothing of the platform.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

ENVIRONMENT = "BENCH_RAW_MODEL"
"""Where a served peer finds the path of a ``RawSpec`` as JSON."""
_STRONGEST = 8


@dataclass(frozen=True, slots=True)
class RawSpec:
    """``trunk`` and ``head``: paths of ONNX files; ``side``: of the square canvas, pixels. The
    score is ``sigmoid(pixel_weight * pixel + image_weight * image + bias)`` as in the manifest."""

    trunk: str
    head: str
    side: int
    pixel_weight: float
    image_weight: float
    bias: float

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def from_environment(cls) -> RawSpec:
        text = Path(os.environ[ENVIRONMENT]).read_text(encoding="utf-8")
        return cls(**json.loads(text))


class RawModel:
    """The trunk's taps and the head's network as they are on disk, default graph optimisation,
    one thread. Called from several threads at once if a server does so."""

    def __init__(self, spec: RawSpec) -> None:
        cv2.setNumThreads(1)
        self._spec = spec
        self._trunk, self._head = _session(spec.trunk), _session(spec.head)
        self._inputs = [node.name for node in self._head.get_inputs()]
        self._taps = [name for name in self._inputs if name != "canvas"]
        self._outputs = [node.name for node in self._head.get_outputs()]

    def __call__(self, data: bytes) -> float:
        """An encoded image -> its score in [0, 1]. ``ValueError`` if it can't be decoded."""
        canvas = _canvas(data, self._spec.side)
        feed = dict(zip(self._taps, self._trunk.run(self._taps, {"image": canvas}), strict=True))
        if "canvas" in self._inputs:
            feed["canvas"] = canvas
        answers = dict(zip(self._outputs, self._head.run(self._outputs, feed), strict=True))
        return self._score(answers["defect"][0, 0], float(answers["image"][0, 0]))

    def _score(self, defect: np.ndarray[Any, Any], image: float) -> float:
        smooth = cv2.blur(defect, (3, 3), borderType=cv2.BORDER_REPLICATE).ravel()
        count = min(_STRONGEST, smooth.size)
        pixel = float(np.partition(smooth, smooth.size - count)[-count:].mean())
        spec = self._spec
        logit = spec.pixel_weight * pixel + spec.image_weight * image + spec.bias
        return float(1 / (1 + np.exp(-logit)))


def _canvas(data: bytes, side: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError("the image cannot be decoded")
    small = cv2.resize(bgr, (side, side), interpolation=cv2.INTER_AREA)[..., ::-1]
    scaled = (small.astype(np.float32) - 127.0) * np.float32(1 / 128)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)[None], np.float32)


def _session(path: str) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
