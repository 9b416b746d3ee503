"""A question set's documents as a vector store: ingested one by one, merged, searchable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.contract import HeadRef, Infer, WorkItem, WorkResult
from xingyue.errors import XingyueError
from xingyue_adapters.document_qa.datasets import Source
from xingyue_models.documents.index import merge_indexes

_INDEX = "index.safetensors"
_MANIFEST = "manifest.json"
_BATCH = 32


@dataclass(frozen=True, slots=True)
class Store:
    """``texts``: extracted text by file id, what citations are checked against."""

    head: HeadRef
    texts: dict[str, str]
    passages: int


def build_store(name: str, sources: Sequence[Source], embed: Infer, folder: Path) -> Store:
    """Write the store's index and manifest under ``folder/name``."""
    indexes, texts, passages = [], {}, 0
    for source in sources:
        item = WorkItem(
            "ingest",
            None,
            {"document": source.data},
            {"filename": source.filename, "file_id": source.id},
        )
        answer = result_of(embed([item])[0])
        indexes.append(answer.blobs["index"])
        texts[source.id] = answer.blobs["text"].decode()
        passages += int(answer.value["passages"])
    index = merge_indexes(indexes)
    manifest = {
        "kind": "document-index",
        "family": "text-embedding",
        "files": {_INDEX: hashlib.sha256(index).hexdigest()},
    }
    data = json.dumps(manifest, sort_keys=True).encode()
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    (place / _INDEX).write_bytes(index)
    (place / _MANIFEST).write_bytes(data)
    head = HeadRef(
        "pharma-embedding", "1", hashlib.sha256(data).hexdigest(), place.resolve().as_uri()
    )
    return Store(head, texts, passages)


def search(
    embed: Infer, store: Store, questions: Sequence[str], top_k: int
) -> list[list[dict[str, Any]]]:
    """Results per question, as the operation ``search`` gives them."""
    found = []
    for start in range(0, len(questions), _BATCH):
        items = [
            WorkItem("search", store.head, {}, {"query": text, "top_k": top_k})
            for text in questions[start : start + _BATCH]
        ]
        found += [result_of(outcome).value["results"] for outcome in embed(items)]
    return found


def result_of(outcome: WorkResult | XingyueError) -> WorkResult:
    if isinstance(outcome, XingyueError):
        raise outcome
    return outcome
