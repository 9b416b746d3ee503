"""An indexer for tests: every line of a text is a passage, and an index is their JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence

from xingyue.errors import InvalidRequest, UnsupportedMedia, XingyueError
from xingyue.files.indexer import Ingested


class FakeIndexer:
    """``faults`` are raised, one each, by the next calls of ``ingest``."""

    def __init__(self, profile: str = "fake-1") -> None:
        self.profile = profile
        self.ingested: list[str] = []
        self.faults: list[XingyueError] = []

    async def ingest(self, tenant: str, document: bytes, filename: str, file_id: str) -> Ingested:
        self.ingested.append(file_id)
        if self.faults:
            raise self.faults.pop(0)
        if not filename.endswith(".txt"):
            raise UnsupportedMedia(f"{filename} is not a text file; send .txt", param="file")
        try:
            text = document.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{filename} is not UTF-8 text", param="file") from error
        passages = [[file_id, self.profile, line] for line in text.splitlines()]
        index = json.dumps(passages, ensure_ascii=False).encode()
        return Ingested({"passages": len(passages), "pages": 1}, index, document)

    async def merge(self, tenant: str, indexes: Sequence[bytes]) -> bytes:
        merged = [passage for index in indexes for passage in json.loads(index)]
        return json.dumps(merged, ensure_ascii=False).encode()
