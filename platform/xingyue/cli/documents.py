"""Local documents become a vector store of the caller's, over HTTP."""

from __future__ import annotations

import json
import mimetypes
import time
from collections.abc import Sequence
from pathlib import Path

from xingyue.client import Client
from xingyue.errors import Internal, InvalidRequest

_INDEXING_TIMEOUT_S = 600.0


def part(path: Path) -> tuple[str, bytes, str]:
    """A file as a part of a multipart body."""
    kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return path.name, path.read_bytes(), kind


def make_store(client: Client, name: str, documents: Sequence[Path]) -> str:
    """Upload, index, wait; the vector store's id. ``InvalidRequest`` if one can't be read."""
    ids = []
    for path in documents:
        form, files = {"purpose": "assistants"}, {"file": part(path)}
        ids.append(client.request("POST", "/v1/files", data=form, files=files)["id"])
    store = client.post("/v1/vector_stores", {"name": name, "file_ids": ids})
    until_s = time.monotonic() + _INDEXING_TIMEOUT_S
    while (counts := store["file_counts"])["in_progress"]:
        if time.monotonic() > until_s:
            raise Internal(f"{store['id']} is not indexed after {_INDEXING_TIMEOUT_S:g} s")
        time.sleep(0.2)
        store = client.get(f"/v1/vector_stores/{store['id']}")
    if counts["failed"]:
        page = client.get(f"/v1/vector_stores/{store['id']}/files")
        reasons = [json.dumps(file["last_error"], ensure_ascii=False) for file in page["data"]]
        raise InvalidRequest(f"a document can't be read: {'; '.join(reasons)}", param="documents")
    return str(store["id"])


def ensure_store(client: Client, name: str, documents: Sequence[Path]) -> str:
    """The caller's vector store of that name, made of ``documents`` if there is none."""
    for store in client.get("/v1/vector_stores", limit=100)["data"]:
        if store["name"] == name and store["file_counts"]["completed"]:
            return str(store["id"])
    return make_store(client, name, documents)
