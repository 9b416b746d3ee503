"""The trunk of text embedding: one pass for all texts and queries of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import Head, HeadFiles, Outcome, WorkItem, WorkResult
from xingyue.errors import Internal, InvalidRequest, XingyueError
from xingyue_models.documents.extracted import DocumentLimits
from xingyue_models.documents.index import build_index, merge_indexes
from xingyue_models.documents.passages import split
from xingyue_models.documents.reading import read
from xingyue_models.text_embedding import heads as index_heads
from xingyue_models.text_embedding.encoder import Encoder
from xingyue_models.text_embedding.heads import IndexHead
from xingyue_models.text_embedding.query_map import QueryMap
from xingyue_models.text_embedding.requests import (
    EMBED,
    INGEST,
    MERGE,
    SEARCH,
    EmbedRequest,
    IngestRequest,
    SearchRequest,
)

Finish = Callable[[NDArray[np.float32]], WorkResult]
"""From a text's embedding, shape D, to its item's answer."""


class EmbeddingTrunk:
    def __init__(self, encoder: Encoder, limits: DocumentLimits) -> None:
        self._encoder = encoder
        self._limits = limits

    def load_head(self, files: HeadFiles) -> IndexHead | QueryMap:
        return index_heads.load(files)

    def infer(self, items: Sequence[WorkItem], heads: Sequence[Head | None]) -> list[Outcome]:
        """``embed`` and ``search`` share a pass; each ``ingest`` makes its own afterwards."""
        outcomes: list[Outcome] = [Internal("the item was not worked on")] * len(items)
        texts: list[tuple[int, str, Finish]] = []
        for place, (item, head) in enumerate(zip(items, heads, strict=True)):
            try:
                if item.op == INGEST:
                    outcomes[place] = self._ingest(IngestRequest.parse(item))
                elif item.op == MERGE:
                    outcomes[place] = _merge(item)
                else:
                    texts.append((place, *self._text(item, head)))
            except XingyueError as error:
                outcomes[place] = error
        embeddings = self._encoder.encode([text for _, text, _ in texts])
        for (place, _, finish), embedding in zip(texts, embeddings, strict=True):
            try:
                outcomes[place] = finish(embedding)
            except XingyueError as error:
                outcomes[place] = error
        return outcomes

    def close(self) -> None:
        """Nothing is held but memory."""

    def _text(self, item: WorkItem, head: Head | None) -> tuple[str, Finish]:
        """What to embed for an item, and what makes its answer of that."""
        if item.op == EMBED:
            request = EmbedRequest.parse(item.params)
            units = self._encoder.count_tokens(request.text)
            return request.text, _embedded(request, head, units)
        if item.op != SEARCH:
            raise InvalidRequest(
                f"text-embedding answers {EMBED}, {INGEST}, {MERGE} and {SEARCH}, not {item.op!r}",
                param="op",
            )
        if not isinstance(head, IndexHead):
            raise InvalidRequest("a search needs a vector store to search in", param="head")
        search = SearchRequest.parse(item.params)
        tokens = self._encoder.count_tokens(search.query)
        return search.query, lambda vector: WorkResult(
            {"results": head.search(search, vector)}, tokens
        )

    def _ingest(self, request: IngestRequest) -> WorkResult:
        document = read(request.document, request.filename, request.media_type, self._limits)
        passages = split(document, request.chunking)
        sentences = [s.of(document.text) for passage in passages for s in passage.sentences]
        index = build_index(
            document,
            passages,
            self._encoder.encode(sentences),
            file_id=request.file_id,
            filename=request.filename,
        )
        value = {
            "passages": len(passages),
            "pages": document.pages or 1,
            "characters": len(document.text),
            "title": document.title,
        }
        blobs = {"index": index.to_bytes(), "text": document.text.encode()}
        return WorkResult(value, document.pages or 1, blobs)


def _embedded(request: EmbedRequest, head: Head | None, units: int) -> Finish:
    """A query through a map comes with the map's ``cosine_weight``: together they are the
    ``ranking`` that a search takes."""
    if head is None:
        return lambda vector: WorkResult({"embedding": vector.tolist()}, units)
    if not isinstance(head, QueryMap):
        raise InvalidRequest(
            "embeddings come from the model or a variant of it, not from a vector store",
            param="head",
        )
    if not request.must_say_side():
        return lambda vector: WorkResult({"embedding": vector.tolist()}, units)
    return lambda vector: WorkResult(
        {
            "embedding": head.apply(vector[None])[0].tolist(),
            "cosine_weight": head.cosine_weight,
        },
        units,
    )


def _merge(item: WorkItem) -> WorkResult:
    """The indexes of the payload, in the order of their numbers, as one. Free of charge."""
    parts = [item.payload[name] for name in sorted(item.payload, key=int)]
    return WorkResult({"indexes": len(parts)}, 0, {"index": merge_indexes(parts)})
