"""How an answer is planned before the language model is asked, and finished afterwards.

The documents decide, not the model: whether there is an answer (``answerability``), which
sentences hold it (``documents.evidence``), and which words it may be made of: the model's output
is constrained to a run of words of one of those sentences (``spans``). So what is cited is verbatim
by construction, and instructions inside a document change nothing but which of its words are
picked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xingyue_models.documents.script import is_chinese, width
from xingyue_models.language_model.answerability import Answerability, default_answerability
from xingyue_models.language_model.passages import Evidence, Found, ranked_evidence
from xingyue_models.language_model.prompts import (
    NOT_FOUND,
    is_yes_no,
    span_messages,
    verdict,
    wants_sentences,
)
from xingyue_models.language_model.requests import AnswerRequest
from xingyue_models.language_model.spans import answer_grammar

TOKENS_DEFAULT = 96
_SENTENCES_MAX = 3
_WIDTH_MAX = 420.0
"""Of all evidence given to the model, in Latin letters: about 90 tokens, so that the first token
comes within a second or so on one core."""
_QUOTED_MAX = 3
_QUOTED_SHARE = 0.3
"""Of whole sentences as an answer; a share of the best one's relevance."""
_RELEVANCE_SHARE = 0.15
"""A further sentence is given only if it is at least so relevant, as a share of the best."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``said``: the answer as it is, without the model, when set (a refusal, whole sentences, a
    verdict with its sentence). Else ``body`` goes to the model."""

    language: str
    evidence: tuple[Evidence, ...]
    said: str | None = None
    body: dict[str, Any] | None = None


def plan_answer(request: AnswerRequest, judge: Answerability | None = None) -> Plan:
    language = "zh" if is_chinese(request.question) else "en"
    judge = judge or default_answerability()
    if not judge.holds(request.question, request.passages):
        return Plan(language, (), said=NOT_FOUND[language])
    if is_yes_no(request.question):
        best = ranked_evidence(request.passages)[0]
        word = verdict(language, request.question, best.text, best.sentence.coverage)
        return Plan(language, (best,), said=word + best.text)
    if wants_sentences(request.question):
        evidence = quoted_sentences(request.passages)
        between = "" if is_chinese(evidence[0].text) else " "
        return Plan(language, evidence, said=between.join(e.text for e in evidence))
    evidence = choose_evidence(request.passages)
    body = {
        "messages": span_messages(language, "\n".join(e.text for e in evidence), request.question),
        "grammar": answer_grammar([e.text for e in evidence], request.question),
        "max_tokens": request.tokens_max,
        "temperature": 0.0,
        "seed": 0,
    }
    return Plan(language, evidence, body=body)


def choose_evidence(passages: Sequence[Found]) -> tuple[Evidence, ...]:
    """The few sentences given to the model, the most relevant first."""
    ranked = ranked_evidence(tuple(passages))
    least = ranked[0].sentence.relevance * _RELEVANCE_SHARE
    chosen, size = [ranked[0]], width(ranked[0].text)
    for evidence in ranked[1 : _SENTENCES_MAX * 2]:
        size_with = size + width(evidence.text)
        if evidence.sentence.relevance < least or len(chosen) == _SENTENCES_MAX:
            break
        if size_with <= _WIDTH_MAX:
            chosen.append(evidence)
            size = size_with
    return tuple(chosen)


def quoted_sentences(passages: Sequence[Found]) -> tuple[Evidence, ...]:
    """The best sentence and its relevant neighbours of the same passage, in reading order."""
    ranked = ranked_evidence(tuple(passages))
    best = ranked[0]
    least = best.sentence.relevance * _QUOTED_SHARE
    near = [e for e in ranked[1:] if e.passage is best.passage and e.sentence.relevance >= least]
    return tuple(sorted([best, *near[: _QUOTED_MAX - 1]], key=lambda e: e.sentence.start))


def supporting(plan: Plan, said: str) -> Evidence:
    """The sentence that holds what was said; the most relevant one where several or none do."""
    return next((e for e in plan.evidence if said.strip() in e.text), plan.evidence[0])


def answer_value(
    content: str,
    cited: Sequence[Evidence],
    finish_reason: str,
    prompt_tokens: int,
    completion_tokens: int,
) -> dict[str, Any]:
    return {
        "content": content,
        "finish_reason": finish_reason,
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "annotations": [evidence.annotation() for evidence in cited],
        "grounded": bool(cited),
    }
