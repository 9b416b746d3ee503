"""Servers that someone would pick instead: how each is started, called and read. No process here.

Each lives in ``benchmarks/peers/<name>/``: ``serve.py <port>`` and, where it needs packages of its
own, ``requirements.txt``. All do the work of ``raw_model.py``: two workers of one thread, no keys,
no meter, everything else as their documentation starts out.

    litserve   file upload (multipart)                    own environment
    bentoml    the image as the whole body                own environment
    mlserver   Open Inference Protocol v2, base64 in JSON own environment
    rayserve   FastAPI ingress, ``@serve.batch``          the platform's environment (the same Ray)
"""

from __future__ import annotations

import base64
import json
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / ".venvs"
_BOUNDARY = "xingyue-benchmarks"


@dataclass(frozen=True, slots=True)
class Kind:
    """``wrap`` makes a request's body of an image, ``score`` reads an answer's JSON."""

    name: str
    package: str
    path: str
    content_type: str
    wrap: Callable[[bytes], bytes]
    score: Callable[[Any], float]
    stop: signal.Signals = signal.SIGTERM

    @property
    def requirements(self) -> Path | None:
        path = FOLDER / self.name / "requirements.txt"
        return path if path.is_file() else None

    @property
    def program(self) -> Path:
        return FOLDER / self.name / "serve.py"

    @property
    def python(self) -> Path:
        if self.requirements is None:
            return Path(sys.executable)
        return ENVIRONMENTS / self.name / "bin" / "python"

    def version(self) -> str | None:
        """Of what is installed; None where it is not."""
        if self.requirements is None:
            return version(self.package)
        folders = (ENVIRONMENTS / self.name / "lib").glob("python3*/site-packages")
        found = distributions(name=self.package, path=[str(folder) for folder in folders])
        return next((each.version for each in found), None)


def _as_it_is(image: bytes) -> bytes:
    return image


def _upload(image: bytes) -> bytes:
    head = (
        f"--{_BOUNDARY}\r\n"
        'Content-Disposition: form-data; name="image"; filename="image.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _tensor(image: bytes) -> bytes:
    tensor = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "parameters": {"content_type": "base64"},
        "data": [base64.b64encode(image).decode()],
    }
    return json.dumps({"inputs": [tensor]}).encode()


def _field(answer: Any) -> float:
    return float(answer["score"])


def _first_number(answer: Any) -> float:
    return float(answer["outputs"][0]["data"][0])


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "litserve",
            "litserve",
            "/inspect",
            f"multipart/form-data; boundary={_BOUNDARY}",
            _upload,
            _field,
            # On SIGTERM its first process leaves the others behind.
            stop=signal.SIGINT,
        ),
        Kind("bentoml", "bentoml", "/inspect", "application/octet-stream", _as_it_is, _field),
        Kind(
            "mlserver",
            "mlserver",
            "/v2/models/inspect/infer",
            "application/json",
            _tensor,
            _first_number,
        ),
        Kind("rayserve", "ray", "/inspect", "image/jpeg", _as_it_is, _field),
    )
}
