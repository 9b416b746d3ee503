"""Evidence: how likely each sentence of the passages found is to hold the answer.

A small network (22 features, 24 hidden units, ReLU) fitted on reading-comprehension articles; its
weights are in ``reader.safetensors``, and ``adapters/.../document_qa/fit.py`` makes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from xingyue_models.documents.bm25 import QueryTerms
from xingyue_models.documents.index import DocumentIndex, PassageColumn
from xingyue_models.documents.question import Asks, asks, has_kind
from xingyue_models.documents.script import is_chinese, width
from xingyue_models.documents.search import Scores
from xingyue_models.documents.terms import terms

FEATURES = 22
_WEIGHTS = Path(__file__).with_name("reader.safetensors")


@dataclass(frozen=True, slots=True)
class Sentence:
    """``start`` and ``end`` in characters of the passage; ``relevance`` in (0, 1)."""

    start: int
    end: int
    coverage: float
    """Share of the question's term weight that the sentence holds."""
    cosine: float
    relevance: float


@dataclass(frozen=True, slots=True)
class Reader:
    """``hidden``: FEATURES x H, ``output``: H."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    hidden: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    output: NDArray[np.float32]
    output_bias: NDArray[np.float32]

    def relevance(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """N x FEATURES -> N probabilities."""
        inner = np.maximum((features - self.mean) / self.scale @ self.hidden + self.hidden_bias, 0)
        logits = inner @ self.output + self.output_bias
        return np.asarray(1 / (1 + np.exp(-logits)), np.float32)


@lru_cache(maxsize=1)
def default_reader() -> Reader:
    return Reader(**load_file(_WEIGHTS))


def find_evidence(
    index: DocumentIndex,
    question: str,
    scores: Scores,
    passages: Sequence[int],
    reader: Reader | None = None,
) -> list[list[Sentence]]:
    """For each of ``passages`` (best first) its sentences, in reading order."""
    features, rows = sentence_features(index, question, scores, passages)
    relevance = (reader or default_reader()).relevance(features)
    found: dict[int, list[Sentence]] = {passage: [] for passage in passages}
    for row, feature, probability in zip(rows, features, relevance, strict=True):
        passage, start, end = (int(value) for value in index.sentences[row])
        found[passage].append(
            Sentence(start, end, float(feature[0]), float(feature[4]), float(probability))
        )
    return [found[passage] for passage in passages]


def sentence_features(
    index: DocumentIndex, question: str, scores: Scores, passages: Sequence[int]
) -> tuple[NDArray[np.float32], list[int]]:
    """Features of all sentences of ``passages`` (N x FEATURES) and their rows in the index."""
    table: list[NDArray[np.float32]] = []
    rows: list[int] = []
    best = max((float(scores.total[p]) for p in passages), default=1.0)
    for rank, passage in enumerate(passages):
        table.append(_passage_features(index, question, scores, passage, rank, best))
        rows += index.sentences_of(passage)
    return np.concatenate(table) if table else np.zeros((0, FEATURES), np.float32), rows


def _passage_features(
    index: DocumentIndex, question: str, scores: Scores, passage: int, rank: int, best: float
) -> NDArray[np.float32]:
    words = index.words(passage)
    rows = index.sentences_of(passage)
    texts = [words[start:end] for _, start, end in index.sentences[rows.start : rows.stop]]
    sets = [set(terms(text)) for text in texts]
    title = index.files[index.passages[passage, PassageColumn.FILE]]["title"]
    heading_terms = set(terms(f"{title}\n{index.heading(passage)}"))
    query = scores.query
    own = np.array([coverage(query, found) for found in sets])
    cosine = scores.sentence_cosine[rows.start : rows.stop]
    passage_terms = heading_terms.union(*sets)
    kind = asks(question)
    crosses = float(is_chinese(question) != is_chinese(words))
    length = max((len(t) for t in query.weights), default=1)
    peak = max(query.weights.values(), default=1.0)
    table = np.zeros((len(texts), FEATURES), np.float32)
    for i, (text, found) in enumerate(zip(texts, sets, strict=True)):
        around = found.union(*sets[max(0, i - 1) : i + 2])
        fits = has_kind(text, kind)
        fresh = len(found - query.weights.keys()) / max(len(found), 1)
        matched = [weight for term, weight in query.weights.items() if term in found]
        table[i] = (
            own[i],
            coverage(query, {t for t in found if len(t) > 1}),
            coverage(query, around),
            coverage(query, passage_terms),
            cosine[i],
            scores.total[passage],
            1 / (1 + rank),
            scores.total[passage] / max(best, 1e-6),
            own[i] / max(own.max(), 1e-6),
            cosine[i] / max(float(cosine.max()), 1e-6),
            np.log1p(width(text)) / 6,
            float(fits and kind is Asks.NUMBER) - float(not fits and kind is Asks.NUMBER),
            float(fits and kind is Asks.TIME) - float(not fits and kind is Asks.TIME),
            float(fits and kind is Asks.PERSON) - float(not fits and kind is Asks.PERSON),
            float(fits and kind in (Asks.PLACE, Asks.REASON)),
            crosses,
            crosses * float(cosine[i]),
            max(matched, default=0.0) / max(peak, 1e-6),
            fresh,
            float(i == 0),
            coverage(query, sets[i - 1] | found) if i else own[i],
            min(length, 12) / 12,
        )
    return table


def coverage(query: QueryTerms, found: set[str]) -> float:
    """Share of the question's term weight that lies in ``found``, in [0, 1]."""
    total = query.total
    matched = sum(weight for term, weight in query.weights.items() if term in found)
    return matched / total if total > 0 else 0.0
