"""Okapi BM25 over an index's postings (Robertson and Zaragoza, 2009), k1 1.2, b 0.6."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xingyue_models.documents.index import DocumentIndex
from xingyue_models.documents.terms import term_hash, terms

_K1 = 1.2
_B = 0.6


@dataclass(frozen=True, slots=True)
class QueryTerms:
    """Distinct terms of a query and how telling each is in this index."""

    weights: dict[str, float]
    """Inverse document frequency, ``log(1 + (P - df + 0.5) / (df + 0.5))``."""

    @property
    def total(self) -> float:
        return sum(self.weights.values())


def query_terms(index: DocumentIndex, query: str) -> QueryTerms:
    count = len(index.passages)
    weights = {}
    for term in dict.fromkeys(terms(query)):
        where = _postings(index, term)
        frequency = 0 if where is None else where.stop - where.start
        weights[term] = float(np.log1p((count - frequency + 0.5) / (frequency + 0.5)))
    return QueryTerms(weights)


def bm25_scores(index: DocumentIndex, query: QueryTerms) -> NDArray[np.float32]:
    """A score per passage, >= 0, shape P."""
    scores = np.zeros(len(index.passages), np.float32)
    mean_length = float(index.lengths.mean()) if len(index.lengths) else 1.0
    norm = _K1 * (1 - _B + _B * index.lengths / max(mean_length, 1.0))
    for term, weight in query.weights.items():
        where = _postings(index, term)
        if where is None:
            continue
        passages = index.posting_passages[where]
        counts = index.posting_counts[where].astype(np.float32)
        scores[passages] += weight * counts * (_K1 + 1) / (counts + norm[passages])
    return scores


def _postings(index: DocumentIndex, term: str) -> slice | None:
    wanted = np.uint64(term_hash(term))
    place = int(np.searchsorted(index.term_hashes, wanted))
    if place == len(index.term_hashes) or index.term_hashes[place] != wanted:
        return None
    return slice(int(index.posting_starts[place]), int(index.posting_starts[place + 1]))
