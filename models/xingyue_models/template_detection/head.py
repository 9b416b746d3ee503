"""The head: a small network from the trunk's features to dense boxes, and its manifest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import IntegrityError, InvalidRequest
from xingyue_models.surface_inspection.taps import open_session

FAMILY = "template-detection"
KIND = "dense-box-onnx"
HEAD_FILE = "head.onnx"


@dataclass(frozen=True, slots=True)
class BoxHead:
    session: onnxruntime.InferenceSession
    labels: tuple[str, ...]
    threshold: float
    size: int

    def nbytes(self) -> int:
        return self.size

    def run(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, channels, r, c) -> (n, classes + 4, r, c)."""
        output: NDArray[np.float32] = self.session.run(None, {"features": features})[0]
        return output


def load(files: HeadFiles, trunk_digest: str, threads: int, device: str) -> BoxHead:
    """``InvalidRequest`` for another family or kind, ``IntegrityError`` for another trunk."""
    manifest = files.manifest
    if manifest.get("family") != FAMILY or manifest.get("kind") != KIND:
        raise InvalidRequest(
            f"this trunk takes heads of family {FAMILY!r}, kind {KIND!r}; got "
            f"{manifest.get('family')!r}, {manifest.get('kind')!r}",
            param="kind",
        )
    if manifest["trunk"]["sha256"] != trunk_digest:
        raise IntegrityError("the head was trained on another trunk than the one loaded here")
    data = (files.folder / HEAD_FILE).read_bytes()
    labels = tuple(str(label) for label in manifest["labels"])
    session = open_session(data, threads, device)
    return BoxHead(session, labels, float(manifest["threshold"]), len(data))
