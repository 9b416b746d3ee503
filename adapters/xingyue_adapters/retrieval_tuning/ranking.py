"""How well questions find their passages: ranks in one corpus, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.datasets import PairSample
from xingyue_adapters.retrieval_tuning.corpus import Corpus
from xingyue_models.documents.search import COSINE_WEIGHT
from xingyue_models.text_embedding.query_map import QueryMap

MRR_AT = 10
VECTORS_ALONE = 1.0
"""The cosine's share where vectors are compared outside a vector store."""
_BLOCK = 128

Ranks = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Asked:
    """N questions against a corpus of P passages.

    ``vectors``  N x D, the trunk's own
    ``lexical``  N x P
    ``right``    N, numbers of the texts that answer each: equal questions share theirs
    """

    samples: Sequence[PairSample]
    vectors: NDArray[np.float32]
    lexical: NDArray[np.float32]
    right: Sequence[NDArray[np.int64]]

    def part(self, chosen: NDArray[np.intp]) -> Asked:
        return Asked(
            [self.samples[i] for i in chosen],
            self.vectors[chosen],
            self.lexical[chosen],
            [self.right[i] for i in chosen],
        )


def right_texts(samples: Sequence[PairSample], corpus: Corpus) -> list[NDArray[np.int64]]:
    by_query: dict[str, set[int]] = {}
    for sample in samples:
        by_query.setdefault(sample.query, set()).add(corpus.texts[sample.positive])
    return [np.array(sorted(by_query[sample.query]), np.int64) for sample in samples]


def cosines(
    corpus: Corpus, vectors: NDArray[np.float32], check: Callable[[], None]
) -> NDArray[np.float32]:
    """N x P: of each passage's best sentence."""
    found = np.empty((len(vectors), len(corpus.owners)), np.float32)
    for start in range(0, len(vectors), _BLOCK):
        check()
        block = vectors[start : start + _BLOCK] @ corpus.sentences.T
        found[start : start + _BLOCK] = np.maximum.reduceat(block, corpus.starts, axis=1)
    return found


def totals(
    lexical: NDArray[np.float32], cosine: NDArray[np.float32], weight: float
) -> NDArray[np.float32]:
    """As ``documents.search.fuse`` has it, for N questions at once."""
    return np.asarray((1 - weight) * lexical + weight * np.clip(cosine, 0.0, 1.0), np.float32)


def ranks(
    corpus: Corpus,
    asked: Asked,
    cosine: NDArray[np.float32],
    weight: float,
    among: NDArray[np.bool_] | None = None,
) -> Ranks:
    """Of the first passage of a right text among the usable ones, from 1; the earlier first among
    equals. ``among``: P, the only passages that count."""
    counted = corpus.usable if among is None else corpus.usable & among
    total = totals(asked.lexical, cosine, weight)
    total[:, ~counted] = -np.inf
    places = np.arange(len(corpus.owners))
    found = np.empty(len(total), np.int64)
    for place, (row, right) in enumerate(zip(total, asked.right, strict=True)):
        own = np.flatnonzero(np.isin(corpus.owners, right))
        best = int(own[np.argmax(row[own])])
        before = (row > row[best]) | ((row == row[best]) & (places < best))
        found[place] = 1 + int(before.sum())
    return found


def reciprocal(found: Ranks) -> NDArray[np.float64]:
    """1 / rank, 0 beyond ``MRR_AT``; their mean is MRR@10."""
    return np.where(found <= MRR_AT, 1.0 / found, 0.0)


@dataclass(frozen=True, slots=True)
class Judged:
    """Ranks of the same questions by the base and by the tuned head, in a hybrid search and by
    vectors alone."""

    base_search: Ranks
    search: Ranks
    base_vectors: Ranks
    vectors: Ranks


def judge(corpus: Corpus, asked: Asked, head: QueryMap, check: Callable[[], None]) -> Judged:
    plain = cosines(corpus, asked.vectors, check)
    mapped = cosines(corpus, head.apply(asked.vectors), check)
    return Judged(
        base_search=ranks(corpus, asked, plain, COSINE_WEIGHT),
        search=ranks(corpus, asked, mapped, head.cosine_weight),
        base_vectors=ranks(corpus, asked, plain, VECTORS_ALONE),
        vectors=ranks(corpus, asked, mapped, VECTORS_ALONE),
    )


def measures(judged: Judged) -> dict[str, float]:
    """Headline numbers: hybrid search, then vectors alone; ``base_*`` before tuning."""
    found: dict[str, float] = {"held_out_questions": float(len(judged.search))}
    for prefix, own in (
        ("", judged.search),
        ("base_", judged.base_search),
        ("vectors_", judged.vectors),
        ("base_vectors_", judged.base_vectors),
    ):
        found |= {f"{prefix}{name}": value for name, value in shares(own).items()}
    return found


def shares(found: Ranks) -> dict[str, float]:
    return {
        "hit_1": round(float((found == 1).mean()), 6),
        "hit_5": round(float((found <= 5).mean()), 6),
        "mrr": round(float(reciprocal(found).mean()), 6),
    }
