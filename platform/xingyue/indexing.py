"""Documents become an index on the embedding model's trunk: ``files.Indexer`` by inference."""

from __future__ import annotations

from collections.abc import Sequence

from xingyue.catalog.spec import EntrySpec
from xingyue.errors import InvalidRequest
from xingyue.files.indexer import Ingested
from xingyue.inference import Inference

_INGEST_TIMEOUT_S = 300.0


class TrunkIndexer:
    """``entry`` None: the catalogue has no embedding model, so vector stores are refused."""

    def __init__(self, inference: Inference, entry: EntrySpec | None, profile: str) -> None:
        self._inference = inference
        self._entry = entry
        self.profile = profile

    async def ingest(self, tenant: str, document: bytes, filename: str, file_id: str) -> Ingested:
        done = await self._inference.run(
            self._embedding(),
            "ingest",
            payload={"document": document},
            params={"filename": filename, "file_id": file_id},
            timeout_s=_INGEST_TIMEOUT_S,
        )
        result = done.result
        return Ingested(result.value, result.blobs["index"], result.blobs["text"])

    async def merge(self, tenant: str, indexes: Sequence[bytes]) -> bytes:
        done = await self._inference.run(
            self._embedding(),
            "merge",
            payload={str(number): index for number, index in enumerate(indexes)},
            timeout_s=_INGEST_TIMEOUT_S,
        )
        return done.result.blobs["index"]

    def _embedding(self) -> EntrySpec:
        if self._entry is None:
            raise InvalidRequest("this platform has no embedding model in its catalogue")
        return self._entry
