"""How documents become an index: the one thing that this package is given, not built from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Ingested:
    """A document read and embedded.

    ``info``   JSON-ready; ``passages`` and ``pages`` (integers) are read by the service
    ``index``  safetensors of this document alone
    ``text``   the extracted text, as the indexer wants it kept (UTF-8)
    """

    info: Mapping[str, Any]
    index: bytes
    text: bytes


class Indexer(Protocol):
    """Called in the event loop; heavy work goes elsewhere. Errors are of ``xingyue.errors``."""

    profile: str
    """Identifies reader and embedding (a trunk's digest, say). Indexes of another profile are
    made anew, never mixed."""

    async def ingest(
        self, tenant: str, document: bytes, filename: str, file_id: str
    ) -> Ingested: ...

    async def merge(self, tenant: str, indexes: Sequence[bytes]) -> bytes:
        """One index over all documents (>= 1), in order; safetensors."""
        ...
