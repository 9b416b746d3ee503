"""The base's trunk for one fit, through the operations that it serves: what is fitted on is what a
caller gets."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import FitContext, Head, HeadFiles, WorkItem, WorkResult
from xingyue.errors import XingyueError
from xingyue_models.text_embedding.encoder import DIMENSIONS
from xingyue_models.text_embedding.family import TextEmbedding


class TrunkRunner:
    def __init__(self, context: FitContext) -> None:
        self._context = context
        self._trunk = TextEmbedding().load_trunk(context.weights, context.runtime)

    @property
    def digest(self) -> str:
        with self._context.weights("trunk").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def load(self, folder: Path) -> Head:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        return self._trunk.load_head(HeadFiles(folder, manifest))

    def queries(self, texts: Sequence[str], head: Head | None = None) -> NDArray[np.float32]:
        """N x D, as ``embed`` answers for ``input_type`` query."""
        params = [{"input": text, "input_type": "query"} for text in texts]
        rows = [each.value["embedding"] for each in self.run("embed", params, head, "questions")]
        return np.array(rows, np.float32).reshape(-1, DIMENSIONS)

    def ingest(self, document: bytes, filename: str, file_id: str) -> bytes:
        """Its index. The trunk's own errors pass."""
        params = {"filename": filename, "file_id": file_id}
        item = WorkItem("ingest", None, {"document": document}, params)
        return _result(self._trunk.infer([item], [None])[0]).blobs["index"]

    def run(
        self, op: str, params: Sequence[dict[str, Any]], head: Head | None, stage: str
    ) -> list[WorkResult]:
        """A result per item, in batches of the runtime's size."""
        size = max(1, self._context.runtime.max_batch)
        found: list[WorkResult] = []
        for start in range(0, len(params), size):
            self._context.check()
            self._context.progress(stage, start, len(params))
            items = [WorkItem(op, None, {}, each) for each in params[start : start + size]]
            found += map(_result, self._trunk.infer(items, [head] * len(items)))
        return found

    def close(self) -> None:
        self._trunk.close()


def _result(outcome: WorkResult | XingyueError) -> WorkResult:
    if isinstance(outcome, XingyueError):
        raise outcome
    return outcome
