"""Servers that someone would pick instead: how each is started, called and read. No process here.

Each lives in ``benchmarks/peers/<name>/``: ``serve.py <port>`` and, where it needs packages of its
own, ``requirements.txt``. All but litellm do the work of ``raw_model.py``: two workers of one
thread, no keys, no meter, everything else as their documentation starts out.

    litserve   file upload (multipart)                    own environment
    bentoml    the image as the whole body                own environment
    mlserver   Open Inference Protocol v2, base64 in JSON own environment
    rayserve   FastAPI ingress, ``@serve.batch``          the platform's environment (the same Ray)
    litellm    OpenAI embeddings before an endpoint that  own environment
               does nothing, with a key and its spend
               callback into SQLite: a gateway, no model
"""

from __future__ import annotations

import base64
import json
import signal
import sqlite3
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

from xingyue_benchmarks.bodies import multipart
from xingyue_benchmarks.scenario import BOUNDARY, TEXT_PEERS

FOLDER = Path(__file__).parents[1] / "peers"
ENVIRONMENTS = Path(__file__).parents[1] / ".venvs"


@dataclass(frozen=True, slots=True)
class Kind:
    """``wrap`` makes a request's body of a scenario's, ``score`` reads an answer's JSON,
    ``recorded`` counts the calls that its meter has, in the folder where it runs."""

    name: str
    package: str
    path: str
    content_type: str
    wrap: Callable[[bytes], bytes]
    score: Callable[[Any], float]
    stop: signal.Signals = signal.SIGTERM
    headers: Mapping[str, str] = field(default_factory=dict)
    recorded: Callable[[Path], int] | None = None

    @property
    def reads_images(self) -> bool:
        return self.name not in TEXT_PEERS

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
    return multipart([image])


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


def _dimensions(answer: Any) -> float:
    return float(len(answer["data"][0]["embedding"]))


def _spent(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "spend.db", timeout=30)) as database:
        return int(database.execute("SELECT count(*) FROM spend").fetchone()[0])


KINDS: Mapping[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "litserve",
            "litserve",
            "/inspect",
            f"multipart/form-data; boundary={BOUNDARY}",
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
        Kind(
            "litellm",
            "litellm",
            "/v1/embeddings",
            "application/json",
            _as_it_is,
            _dimensions,
            headers={"authorization": "Bearer sk-bench"},
            recorded=_spent,
        ),
    )
}
