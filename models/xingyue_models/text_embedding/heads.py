"""The heads of this family, data only: a document index, or a map of queries (``query_map``)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.documents.evidence import Sentence, find_evidence
from xingyue_models.documents.index import DocumentIndex, PassageColumn
from xingyue_models.documents.search import Scores, reranked, score, top
from xingyue_models.text_embedding import query_map
from xingyue_models.text_embedding.encoder import DIMENSIONS
from xingyue_models.text_embedding.query_map import QueryMap
from xingyue_models.text_embedding.requests import SearchRequest

KIND = "document-index"
INDEX_FILE = "index.safetensors"
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class IndexHead:
    index: DocumentIndex

    def nbytes(self) -> int:
        return self.index.nbytes()

    def search(
        self, request: SearchRequest, embedding: NDArray[np.float32]
    ) -> list[dict[str, object]]:
        """Passages by falling score, JSON-ready. ``start_index`` and ``end_index`` are characters
        of the file's extracted text, ``page`` counts from 1 or is None. With a ranking of the
        caller's, ``score`` is that ranking's, and ``base_score`` the score without it, which the
        readers of evidence were fitted on."""
        if not len(self.index.passages):
            return []
        base = score(self.index, request.query, embedding)
        ranked = base
        if request.ranking is not None:
            ranked = reranked(self.index, base, request.ranking)
        passages = [int(p) for p in top(ranked, request.top_k, request.score_min)]
        evidence = find_evidence(self.index, request.query, base, passages)
        found = []
        for passage, sentences in zip(passages, evidence, strict=True):
            result = self._result(passage, ranked, sentences)
            if ranked is not base:
                result["base_score"] = round(float(base.total[passage]), _DECIMALS)
            found.append(result)
        return found

    def _result(self, passage: int, scores: Scores, sentences: list[Sentence]) -> dict[str, object]:
        row = self.index.passages[passage]
        about = self.index.files[row[PassageColumn.FILE]]
        start = int(row[PassageColumn.START])
        return {
            "file_id": about["file_id"],
            "filename": about["filename"],
            "page": int(row[PassageColumn.PAGE]) or None,
            "start_index": start,
            "end_index": int(row[PassageColumn.END]),
            "heading": self.index.heading(passage) or None,
            "text": self.index.words(passage),
            "score": round(float(scores.total[passage]), _DECIMALS),
            "bm25": round(float(scores.bm25[passage]), _DECIMALS),
            "cosine": round(float(scores.cosine[passage]), _DECIMALS),
            "sentences": [
                {
                    "start_index": start + sentence.start,
                    "end_index": start + sentence.end,
                    "coverage": round(sentence.coverage, _DECIMALS),
                    "cosine": round(sentence.cosine, _DECIMALS),
                    "relevance": round(sentence.relevance, _DECIMALS),
                }
                for sentence in sentences
            ],
        }


def load(files: HeadFiles) -> IndexHead | QueryMap:
    """``InvalidRequest`` if the files are no head of this family."""
    kind = files.manifest.get("kind")
    if kind == query_map.KIND:
        return query_map.load(files)
    if kind == KIND:
        return _load_index(files)
    raise InvalidRequest(
        f"a head of text-embedding is a {KIND} or a {query_map.KIND}, got kind {kind!r}; use a "
        "vector store's index, or a variant fitted on this base",
        param="head",
    )


def _load_index(files: HeadFiles) -> IndexHead:
    """``InvalidRequest`` if the files are no document index, or one of other embeddings."""
    path = files.folder / INDEX_FILE
    if not path.is_file():
        raise InvalidRequest(f"the head holds no {INDEX_FILE}", code="invalid_index", param="head")
    index = DocumentIndex.from_bytes(path.read_bytes())
    if index.embeddings.shape[1] != DIMENSIONS:
        raise InvalidRequest(
            f"the index holds embeddings of {index.embeddings.shape[1]} dimensions, this trunk "
            f"makes {DIMENSIONS}; ingest the files again",
            code="invalid_index",
            param="head",
        )
    return IndexHead(index)
