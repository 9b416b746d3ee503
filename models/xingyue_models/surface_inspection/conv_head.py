"""The ``conv-onnx`` head: a small convolutional network over trunk taps and the canvas itself.

Inputs ``canvas`` (N,3,S,S) and any trunk taps by their names; outputs, all logits, ``defect``
(N,1,h,w), ``classes`` (N,K,h',w') and ``image`` (N,1). The manifest adds ``calibration``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.efficientnet_lite import TAPS
from xingyue_models.surface_inspection.geometry import Window, covered
from xingyue_models.surface_inspection.heads import Taps, WindowAnswer
from xingyue_models.surface_inspection.manifest import HeadSpec, read_file
from xingyue_models.surface_inspection.scoring import Calibration, pixel_evidence, sigmoid
from xingyue_models.surface_inspection.taps import open_session

FILE_NAME = "head.onnx"
OUTPUTS = ("defect", "classes", "image")
_BYTES_MAX = 16 * 2**20
_RESIDENT_PER_BYTE = 6
"""Measured: a network of 3 MB adds 20 MB to a process (packed copies of the weights, the graph)."""


class ConvHead:
    def __init__(
        self, spec: HeadSpec, session: onnxruntime.InferenceSession, calibration: Calibration
    ) -> None:
        self._spec = spec
        self._session = session
        self._calibration = calibration
        self._inputs = tuple(node.name for node in session.get_inputs())
        self._nbytes = 0

    @classmethod
    def load(cls, spec: HeadSpec, files: HeadFiles) -> ConvHead:
        data = read_file(files, FILE_NAME)
        _refuse_unfit(data)
        try:
            session = open_session(data, threads=1)
        except Exception as error:  # ONNX Runtime has no common base of its errors
            raise InvalidRequest(
                f"{FILE_NAME} is not a network that can be run", param="files"
            ) from error
        head = cls(spec, session, Calibration.from_manifest(files.manifest))
        head._nbytes = len(data) * _RESIDENT_PER_BYTE
        head._check_interface()
        return head

    @property
    def spec(self) -> HeadSpec:
        return self._spec

    @property
    def taps(self) -> tuple[str, ...]:
        return tuple(name for name in self._inputs if name != "canvas")

    def nbytes(self) -> int:
        return self._nbytes

    def answer(
        self, canvas: NDArray[np.float32], taps: Taps, places: Sequence[Window]
    ) -> list[WindowAnswer]:
        defect, classes, image = self.logits(canvas, taps)
        answers = []
        for index, place in enumerate(places):
            pixel = self.evidence(defect[index, 0], place)
            score = self._calibration.score(pixel, float(image[index, 0]))
            answers.append(WindowAnswer(score, sigmoid(defect[index, 0]), classes[index]))
        return answers

    def logits(self, canvas: NDArray[np.float32], taps: Taps) -> list[NDArray[np.float32]]:
        """``defect``, ``classes``, ``image``, before any calibration."""
        feed = {name: canvas if name == "canvas" else taps[name] for name in self._inputs}
        return list(self._session.run(list(OUTPUTS), feed))

    def evidence(self, defect: NDArray[np.float32], place: Window) -> float:
        """Pixel evidence of one window, its padding left out."""
        return pixel_evidence(covered(defect, place, self._spec.geometry.side))

    def _check_interface(self) -> None:
        names = {node.name: node for node in self._session.get_outputs()}
        strange = sorted(set(self._inputs) - {"canvas", *TAPS})
        missing = sorted(set(OUTPUTS) - set(names))
        if strange or missing:
            raise InvalidRequest(
                f"{FILE_NAME} must read 'canvas' and trunk taps and give {', '.join(OUTPUTS)}; "
                f"unknown inputs: {strange or 'none'}, missing outputs: {missing or 'none'}",
                param="files",
            )
        kinds = names["classes"].shape[1]
        if isinstance(kinds, int) and kinds != len(self._spec.labels):
            raise InvalidRequest(
                f"{FILE_NAME} tells {kinds} classes, the manifest has {len(self._spec.labels)} "
                "labels",
                param="labels",
            )


def _refuse_unfit(data: bytes) -> None:
    """A head may hold standard operators and its own weights; no custom code, no other files."""
    if len(data) > _BYTES_MAX:
        raise InvalidRequest(
            f"{FILE_NAME} has {len(data)} bytes, at most {_BYTES_MAX} are taken", param="files"
        )
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:  # protobuf's decode errors have no public base class
        raise InvalidRequest(f"{FILE_NAME} is not an ONNX file", param="files") from error
    domains = {opset.domain for opset in model.opset_import} - {"", "ai.onnx"}
    if domains or model.functions:
        raise InvalidRequest(
            f"{FILE_NAME} uses operators outside the ONNX standard: {sorted(domains)}",
            param="files",
        )
    if any(tensor.external_data for tensor in model.graph.initializer):
        raise InvalidRequest(f"{FILE_NAME} must hold its weights itself", param="files")
