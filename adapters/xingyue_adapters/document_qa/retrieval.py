"""How well the right document is found: hit@k and MRR over all questions of a set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xingyue_adapters.document_qa.datasets import Form, Question, QuestionSet
from xingyue_adapters.document_qa.stores import Ingested
from xingyue_adapters.document_qa.text_metrics import share_of

TOP_K = 10
_FREE_SHARE = 0.6
"""A passage holds an answer in someone's own words if it has so much of its words."""

COLUMNS = ("set", "documents", "passages", "questions", "hit@1", "hit@5", "MRR@10", "answer@5")


@dataclass(frozen=True, slots=True)
class Retrieval:
    """Shares of the questions. ``hit_k``: a passage of the right document is among the best k;
    ``answer_5``: one of the best 5 also holds the answer's words (NaN for yes/no sets)."""

    hit_1: float
    hit_5: float
    mrr: float
    answer_5: float

    def metrics(self, name: str) -> dict[str, float]:
        return {f"{name}.hit_1": self.hit_1, f"{name}.hit_5": self.hit_5, f"{name}.mrr": self.mrr}


def measure(questions: QuestionSet, results: Sequence[Sequence[Mapping[str, Any]]]) -> Retrieval:
    """``results``: per question, best first, up to ``TOP_K``."""
    ranks = [_rank(q, found) for q, found in zip(questions.questions, results, strict=True)]
    spoken = [
        any(holds(q, passage, questions.is_chinese) for passage in found[:5])
        for q, found in zip(questions.questions, results, strict=True)
        if q.form is not Form.LABEL
    ]
    count = len(ranks)
    return Retrieval(
        sum(rank == 1 for rank in ranks) / count,
        sum(0 < rank <= 5 for rank in ranks) / count,
        sum(1 / rank for rank in ranks if rank) / count,
        sum(spoken) / len(spoken) if spoken else float("nan"),
    )


def holds(question: Question, passage: Mapping[str, Any], is_chinese: bool) -> bool:
    """Whether a passage (or a quote) of the right document has the answer's words."""
    if passage["file_id"] != question.document_id:
        return False
    text = passage.get("quote") or passage["text"]
    if question.form is Form.SPAN:
        return any(answer in text for answer in question.answers)
    return any(share_of(a, text, is_chinese) >= _FREE_SHARE for a in question.answers)


def row(
    questions: QuestionSet, documents: Mapping[str, Ingested], found: Retrieval
) -> tuple[str, ...]:
    shares = (found.hit_1, found.hit_5, found.mrr, found.answer_5)
    return (
        questions.name,
        str(len(documents)),
        str(sum(document.passages for document in documents.values())),
        str(len(questions.questions)),
        *("-" if share != share else f"{share:.3f}" for share in shares),
    )


def _rank(question: Question, found: Sequence[Mapping[str, Any]]) -> int:
    """From 1, of the first passage of the right document; 0 where there is none."""
    files = [passage["file_id"] for passage in found]
    return files.index(question.document_id) + 1 if question.document_id in files else 0
