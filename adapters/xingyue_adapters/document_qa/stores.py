"""A question set's documents as a vector store: ingested one by one, merged, searchable."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
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
class Ingested:
    """A document's own index and its extracted text, what citations are checked against."""

    index: bytes
    text: str
    passages: int


def ingest(sources: Sequence[Source], embed: Infer) -> dict[str, Ingested]:
    """By document id, in order."""
    documents = {}
    for source in sources:
        item = WorkItem(
            "ingest",
            None,
            {"document": source.data},
            {"filename": source.filename, "file_id": source.id},
        )
        answer = result_of(embed([item])[0])
        documents[source.id] = Ingested(
            answer.blobs["index"], answer.blobs["text"].decode(), int(answer.value["passages"])
        )
    return documents


def write_store(documents: Mapping[str, Ingested], folder: Path) -> HeadRef:
    """One index over ``documents`` (>= 1) with its manifest, as a new folder."""
    index = merge_indexes([document.index for document in documents.values()])
    manifest = {
        "kind": "document-index",
        "family": "text-embedding",
        "files": {_INDEX: hashlib.sha256(index).hexdigest()},
    }
    data = json.dumps(manifest, sort_keys=True).encode()
    folder.mkdir(parents=True)
    (folder / _INDEX).write_bytes(index)
    (folder / _MANIFEST).write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    return HeadRef("pharma-embedding", "1", digest, folder.resolve().as_uri())


def search(
    embed: Infer, store: HeadRef, questions: Sequence[str], top_k: int
) -> list[list[dict[str, Any]]]:
    """Results per question, as the operation ``search`` gives them."""
    found = []
    for start in range(0, len(questions), _BATCH):
        items = [
            WorkItem("search", store, {}, {"query": text, "top_k": top_k})
            for text in questions[start : start + _BATCH]
        ]
        found += [result_of(outcome).value["results"] for outcome in embed(items)]
    return found


def result_of(outcome: WorkResult | XingyueError) -> WorkResult:
    if isinstance(outcome, XingyueError):
        raise outcome
    return outcome
