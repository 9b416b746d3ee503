"""Whether the passages found hold the answer at all: a calibrated probability and a threshold.

A logistic regression over what the search and the evidence reader say. It was fitted on
reading-comprehension articles with their own questions, with the right document taken away, and
with questions of other articles; ``adapters/.../document_qa/fit_answerability.py`` makes
``answerability.safetensors``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from xingyue_models.documents.question import Asks, asks, has_kind
from xingyue_models.documents.script import is_chinese, width
from xingyue_models.documents.terms import terms
from xingyue_models.language_model.passages import Evidence, Found, ranked_evidence

FEATURES = 34
_WEIGHTS = Path(__file__).with_name("answerability.safetensors")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NAME = re.compile(r"(?<!^)\b[A-Z][\w-]+|\b[A-Z]{2,}\b|[A-Za-z]+\d+\w*")
_KINDS = (Asks.NUMBER, Asks.TIME, Asks.PERSON, Asks.PLACE, Asks.REASON)


@dataclass(frozen=True, slots=True)
class Answerability:
    """``mean``, ``scale``, ``weights``: FEATURES; ``bias``: 1; ``threshold``: 2, the probability
    from which on a question is answered, in its documents' language and across languages."""

    mean: NDArray[np.float32]
    scale: NDArray[np.float32]
    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    threshold: NDArray[np.float32]

    def probability(self, question: str, passages: Sequence[Found]) -> float:
        """That the passages hold the answer; 0 where there is no sentence at all."""
        ranked = ranked_evidence(tuple(passages))
        if not ranked:
            return 0.0
        inputs = (features(question, passages, ranked) - self.mean) / self.scale
        # Clipped: a document far from those fitted on must not decide by one number.
        logit = float(np.clip(inputs, -4, 4) @ self.weights + self.bias[0])
        return float(1 / (1 + np.exp(-logit)))

    def holds(self, question: str, passages: Sequence[Found]) -> bool:
        ranked = ranked_evidence(tuple(passages))
        if not ranked:
            return False
        threshold = self.threshold[int(_crosses(question, ranked[0]))]
        return self.probability(question, passages) >= float(threshold)


@lru_cache(maxsize=1)
def default_answerability() -> Answerability:
    return Answerability(**load_file(_WEIGHTS))


def features(
    question: str, passages: Sequence[Found], ranked: Sequence[Evidence]
) -> NDArray[np.float32]:
    """``ranked``: all sentences of ``passages`` by falling relevance, at least one. FEATURES."""
    best = ranked[0]
    relevance = [e.sentence.relevance for e in ranked[:3]] + [0.001] * 3
    others = [e for e in ranked if e.passage is not best.passage]
    scores = sorted((p.score for p in passages), reverse=True) + [0.0] * 2
    kind = asks(question)
    own = _setting(best.passage)
    everywhere = "\n".join(_setting(passage) for passage in passages)
    crosses = float(_crosses(question, best))
    return np.array(
        [
            *(_logit(r) for r in relevance[:3]),
            sum(e.sentence.relevance for e in ranked),
            _logit(others[0].sentence.relevance if others else 0.001),
            best.sentence.coverage,
            best.sentence.cosine,
            max(e.sentence.coverage for e in ranked),
            max(e.sentence.cosine for e in ranked),
            scores[0],
            scores[0] - scores[1],
            best.passage.score,
            float(np.log1p(max(p.bm25 for p in passages))),
            best.passage.cosine,
            len(passages) / 5,
            crosses,
            crosses * _logit(relevance[0]),
            crosses * best.sentence.cosine,
            crosses * scores[0],
            float(is_chinese(question)),
            *(float(kind is k) for k in _KINDS),
            float(has_kind(best.text, kind)),
            float(np.log1p(width(question))),
            _share(_NUMBER, question, own),
            _share(_NAME, question, own),
            _share(_NAME, question, everywhere),
            _matched(question, best.text),
            _matched(question, own),
            _matched(question, everywhere),
            float(best.passage is passages[0]),
        ],
        np.float32,
    )


def _crosses(question: str, best: Evidence) -> bool:
    return is_chinese(question) != is_chinese(best.text)


def _setting(passage: Found) -> str:
    return f"{passage.filename}\n{passage.heading}\n{passage.text}"


def _logit(probability: float) -> float:
    held = min(max(probability, 1e-3), 1 - 1e-3)
    return float(np.log(held / (1 - held)))


def _share(pattern: re.Pattern[str], question: str, text: str) -> float:
    """Of the question's words that ``pattern`` finds, how many the text has; 1 without any."""
    wanted = {match.casefold() for match in pattern.findall(question)}
    folded = text.casefold()
    return sum(word in folded for word in wanted) / len(wanted) if wanted else 1.0


def _matched(question: str, text: str) -> float:
    """Share of the question's distinct terms of two letters and more that the text has."""
    wanted = {term for term in terms(question) if len(term) > 1}
    return len(wanted & set(terms(text))) / len(wanted) if wanted else 1.0
