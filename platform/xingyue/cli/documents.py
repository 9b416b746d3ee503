"""Local documents become a vector store of the caller's, once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xingyue_client import Xingyue


def ensure_store(client: Xingyue, name: str, documents: Sequence[Path]) -> str:
    """The caller's vector store of that name, made of ``documents`` if there is none."""
    for store in client.vector_stores.list():
        if store.name == name and store.file_counts.completed:
            return store.id
    return client.vector_stores.of_documents(name, documents).id
