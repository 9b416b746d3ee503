"""Documents of a question-answering scenario, put where the model looks for them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import httpx

from xingyue.errors import Internal
from xingyue_benchmarks.deployment import Deployment

_READY_S = 300
_NAME = "bench-documents"


def vector_store(deployment: Deployment, documents: Sequence[Path]) -> str:
    """The id of a vector store of the benchmark's tenant that holds ``documents``, ready to be
    asked. What that cost is read from the ledger here, so that no load is held against it."""
    with httpx.Client(
        base_url=deployment.url,
        headers={"authorization": f"Bearer {deployment.key}"},
        timeout=120,
    ) as client:
        file_ids = [_upload(client, path) for path in documents]
        made = client.post("/v1/vector_stores", json={"name": _NAME, "file_ids": file_ids})
        _must(made, "vector store")
        store_id = str(made.json()["id"])
        _await_ready(client, store_id, len(file_ids))
    deployment.new_events()
    return store_id


def _upload(client: httpx.Client, path: Path) -> str:
    files = {"file": (path.name, path.read_bytes(), "text/markdown")}
    made = client.post("/v1/files", data={"purpose": "assistants"}, files=files)
    _must(made, path.name)
    return str(made.json()["id"])


def _await_ready(client: httpx.Client, store_id: str, wanted: int) -> None:
    until_s = time.monotonic() + _READY_S
    while time.monotonic() < until_s:
        answer = client.get(f"/v1/vector_stores/{store_id}")
        _must(answer, "vector store")
        counts = answer.json()["file_counts"]
        if counts["completed"] == wanted:
            return
        if counts["failed"] or counts["cancelled"]:
            raise Internal(f"the documents could not be read: {counts}")
        time.sleep(0.5)
    raise Internal(f"the documents were not read within {_READY_S} s")


def _must(answer: httpx.Response, what: str) -> None:
    if answer.status_code >= 300:
        raise Internal(f"{what} was refused with {answer.status_code}: {answer.text[:500]}")
