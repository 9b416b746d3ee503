"""Hybrid search: BM25 and the best sentence's cosine, as one weighted sum."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from xingyue_models.documents.bm25 import QueryTerms, bm25_scores, query_terms
from xingyue_models.documents.index import DocumentIndex

COSINE_WEIGHT = 0.35
"""Share of the cosine in the score; tuned on training articles, see the model card."""
_BLOCK_ROWS = 16_384
"""Sentences whose half floats are widened at once."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Per passage (P): ``total`` in [0, 1] ranks; ``bm25`` raw; ``cosine`` of the best sentence.

    ``sentence_cosine``: per sentence (S).
    """

    total: NDArray[np.float32]
    bm25: NDArray[np.float32]
    cosine: NDArray[np.float32]
    sentence_cosine: NDArray[np.float32]
    query: QueryTerms


def score(index: DocumentIndex, query: str, embedding: NDArray[np.float32]) -> Scores:
    """``embedding``: of the query, shape D, L2-normalised."""
    wanted = query_terms(index, query)
    lexical = bm25_scores(index, wanted)
    sentence_cosine = _cosines(index.embeddings, embedding)
    cosine = passage_cosines(index, sentence_cosine)
    return Scores(fuse(lexical, cosine, wanted.total), lexical, cosine, sentence_cosine, wanted)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Another vector for the query (shape D, length 1) and another share of the cosine, by which
    passages are ranked. What is said about them and their sentences stays the trunk's own."""

    embedding: NDArray[np.float32]
    cosine_weight: float


def reranked(index: DocumentIndex, scores: Scores, ranking: Ranking) -> Scores:
    """``scores`` with the ``total`` of ``ranking``; all else stays the trunk's own."""
    cosine = passage_cosines(index, _cosines(index.embeddings, ranking.embedding))
    total = fuse(scores.bm25, cosine, scores.query.total, ranking.cosine_weight)
    return replace(scores, total=total)


def passage_cosines(
    index: DocumentIndex, sentence_cosine: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Of each passage's best sentence, shape P."""
    cosine = np.full(len(index.passages), -1.0, np.float32)
    np.maximum.at(cosine, index.sentences[:, 0], sentence_cosine)
    return cosine


def fuse(
    lexical: NDArray[np.float32],
    cosine: NDArray[np.float32],
    terms_total: float,
    weight: float = COSINE_WEIGHT,
) -> NDArray[np.float32]:
    """BM25 as a share of what full coverage would give, cosine cut at 0; weighted sum."""
    fused = (1 - weight) * lexical_share(lexical, terms_total) + weight * np.clip(cosine, 0.0, 1.0)
    return np.asarray(fused, np.float32)


def lexical_share(lexical: NDArray[np.float32], terms_total: float) -> NDArray[np.float32]:
    """BM25 in [0, 1]: 1 is what full coverage of the query's terms would give."""
    return np.asarray(np.minimum(lexical / max(1.5 * terms_total, 1e-6), 1.0), np.float32)


def top(scores: Scores, count: int, score_min: float | None) -> NDArray[np.intp]:
    """Passages by falling score, the earlier first among equals."""
    order = np.argsort(-scores.total, kind="stable")[:count]
    return order if score_min is None else order[scores.total[order] >= score_min]


def _cosines(rows: NDArray[np.float16], query: NDArray[np.float32]) -> NDArray[np.float32]:
    result = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = rows[start : start + _BLOCK_ROWS].astype(np.float32)
        result[start : start + len(block)] = block @ query
    return result
