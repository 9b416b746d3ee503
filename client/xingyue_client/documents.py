"""Files and vector stores: what document QA answers from."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xingyue_client.answer import Call, content, listing, nothing, result
from xingyue_client.endpoint import Endpoint, Flow, Group, S, Steps, sent
from xingyue_client.errors import DeadlinePassed, IndexingFailed
from xingyue_client.images import file_part
from xingyue_client.records import File, Passage, StoreFile, VectorStore
from xingyue_client.request import (
    Request,
    Safety,
    as_json,
    changing,
    given,
    multipart,
    paid,
    reading,
)
from xingyue_client.retries import Sleep

_FILES, _STORES = "/v1/files", "/v1/vector_stores"
_POLL_S = 0.2
Document = str | Path | tuple[str, bytes]
"""A path, or name and content."""


def upload(document: Document, *, purpose: str = "assistants") -> Call[File]:
    """``purpose``: ``assistants`` for documents, ``fine-tune`` for training data."""
    body, kind = multipart([file_part("file", document)], {"purpose": purpose})
    request = Request("POST", _FILES, Safety.ONCE, {}, {"content-type": kind}, body)
    return Call(request, result(File))


def list_files(*, purpose: str | None = None, limit: int = 100) -> Call[tuple[File, ...]]:
    return Call(reading(_FILES, purpose=purpose, limit=limit), listing(File))


def file_content(file_id: str) -> Call[bytes]:
    return Call(reading(f"{_FILES}/{file_id}/content"), content)


def delete_file(file_id: str) -> Call[None]:
    return Call(changing(f"{_FILES}/{file_id}", method="DELETE"), nothing)


def create(
    name: str, file_ids: Sequence[str] = (), *, metadata: Mapping[str, str] | None = None
) -> Call[VectorStore]:
    """Its files are indexed after the answer: see ``wait``."""
    body = {"name": name, "file_ids": list(file_ids)}
    return Call(changing(_STORES, body | given(metadata=metadata)), result(VectorStore))


def list_stores(*, limit: int = 100) -> Call[tuple[VectorStore, ...]]:
    """Newest first."""
    return Call(reading(_STORES, limit=limit), listing(VectorStore))


def retrieve(store_id: str) -> Call[VectorStore]:
    return Call(reading(f"{_STORES}/{store_id}"), result(VectorStore))


def add(store_id: str, file_id: str) -> Call[StoreFile]:
    return Call(changing(f"{_STORES}/{store_id}/files", {"file_id": file_id}), result(StoreFile))


def files(store_id: str, *, limit: int = 100) -> Call[tuple[StoreFile, ...]]:
    return Call(reading(f"{_STORES}/{store_id}/files", limit=limit), listing(StoreFile))


def delete(store_id: str) -> Call[None]:
    return Call(changing(f"{_STORES}/{store_id}", method="DELETE"), nothing)


def search(
    store_id: str,
    query: str,
    *,
    results_max: int = 10,
    score_min: float | None = None,
    model: str | None = None,
    idempotency_key: str | None = None,
    timeout_s: float | None = None,
) -> Call[tuple[Passage, ...]]:
    """Passages, best first. Costs tokens of the embedding model, or of ``model``, a variant of it
    to rank by."""
    body: dict[str, Any] = {"query": query, "max_num_results": results_max}
    if score_min is not None:
        body["ranking_options"] = {"score_threshold": score_min}
    if model is not None:
        body["model"] = model
    request = paid(
        f"{_STORES}/{store_id}/search", as_json(body), key=idempotency_key, timeout_s=timeout_s
    )
    return Call(request, listing(Passage))


def wait(store_id: str, *, timeout_s: float = 600.0) -> Flow[VectorStore]:
    """Until every file is indexed. ``IndexingFailed`` says which can't be, and why;
    ``DeadlinePassed`` after ``timeout_s``."""
    until_s = time.monotonic() + timeout_s
    while True:
        store = yield from sent(retrieve(store_id))
        if not store.file_counts.in_progress:
            break
        if time.monotonic() > until_s:
            raise DeadlinePassed(f"{store_id} is not indexed after {timeout_s:g} s")
        yield Sleep(_POLL_S)
    if store.file_counts.failed:
        found = yield from sent(files(store_id))
        reasons = [
            f"{file.id}: {json.dumps(file.last_error, ensure_ascii=False)}"
            for file in found
            if file.last_error is not None
        ]
        raise IndexingFailed(f"a document can't be read: {'; '.join(reasons)}", param="documents")
    return store


def of_documents(
    name: str, documents: Sequence[Document], *, timeout_s: float = 600.0
) -> Flow[VectorStore]:
    """Upload, create, wait: a store that can be asked."""
    ids = []
    for document in documents:
        file = yield from sent(upload(document))
        ids.append(file.id)
    store = yield from sent(create(name, ids))
    done = yield from wait(store.id, timeout_s=timeout_s)
    return done


class Files(Group[S]):
    upload = Endpoint(upload)
    list = Endpoint(list_files)
    content = Endpoint(file_content)
    delete = Endpoint(delete_file)


class VectorStores(Group[S]):
    create = Endpoint(create)
    of_documents = Steps(of_documents)
    list = Endpoint(list_stores)
    retrieve = Endpoint(retrieve)
    wait = Steps(wait)
    add = Endpoint(add)
    files = Endpoint(files)
    search = Endpoint(search)
    delete = Endpoint(delete)
