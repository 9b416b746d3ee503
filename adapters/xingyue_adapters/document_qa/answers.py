"""How well questions are answered, cited and refused, through the real search and model."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xingyue.contract import HeadRef, Infer, Stream, WorkItem
from xingyue_adapters.document_qa.datasets import Form, Question, QuestionSet
from xingyue_adapters.document_qa.retrieval import holds
from xingyue_adapters.document_qa.stores import Ingested, result_of, search, write_store
from xingyue_adapters.document_qa.text_metrics import exact, f1, share_of

ANSWER_COLUMNS = ("set", "asked", "F1", "EM", "F1 answered", "verbatim", "citation")
REFUSAL_COLUMNS = (
    "set", "judged", "answered", "false answers", "first token p50", "p95", "CPU p50", "p95",
)  # fmt: skip
_FOLDS = 4
_PASSAGES = 5
_QUOTE_SHARE = 0.5


@dataclass(slots=True)
class Answers:
    """``scores``: F1 and EM of the questions asked, a refusal counts 0. ``first_s``: until
    the first words, search included, by the clock and in CPU time of this process; with one thread
    the latter is what an idle core takes."""

    scores: list[tuple[float, float]] = field(default_factory=list)
    scores_answered: list[float] = field(default_factory=list)
    verbatim: list[bool] = field(default_factory=list)
    supported: list[bool] = field(default_factory=list)
    first_s: list[tuple[float, float]] = field(default_factory=list)
    answered: list[bool] = field(default_factory=list)
    """Of all questions of the set; and below, asked of a store without their document."""
    false_answers: list[bool] = field(default_factory=list)

    def metrics(self, name: str) -> dict[str, float]:
        scores = np.array(self.scores)
        return {
            f"{name}.f1": float(scores[:, 0].mean()),
            f"{name}.em": float(scores[:, 1].mean()),
            f"{name}.answered": _mean(self.answered),
            f"{name}.citation_verbatim": _mean(self.verbatim),
            f"{name}.citation_precision": _mean(self.supported),
            f"{name}.false_answers": _mean(self.false_answers),
        }

    def answer_row(self, name: str) -> tuple[str, ...]:
        found = self.metrics(name)
        shares = [
            found[f"{name}.f1"],
            found[f"{name}.em"],
            _mean(self.scores_answered),
            _mean(self.verbatim),
            _mean(self.supported),
        ]
        return (name, str(len(self.scores)), *(f"{share:.3f}" for share in shares))

    def refusal_row(self, name: str) -> tuple[str, ...]:
        return (
            name,
            str(len(self.answered)),
            f"{_mean(self.answered):.3f}",
            f"{_mean(self.false_answers):.3f}",
            *(f"{s:.2f} s" for s in np.quantile(self.first_s, (0.5, 0.95), axis=0).T.ravel()),
        )


@dataclass(frozen=True, slots=True)
class Asker:
    """The two parts of document QA, called as the gateway calls them."""

    embed: Infer
    infer: Infer
    speak: Stream

    def judge(self, stores: Sequence[HeadRef], questions: Sequence[str]) -> list[bool]:
        """Whether each question would be answered from its store."""
        verdicts = []
        for store, question in zip(stores, questions, strict=True):
            (found,) = search(self.embed, store, [question], _PASSAGES)
            item = WorkItem("judge", None, {}, {"question": question, "passages": found})
            verdicts.append(bool(result_of(self.infer([item])[0]).value["grounded"]))
        return verdicts

    def ask(self, store: HeadRef, question: str) -> tuple[dict[str, Any], tuple[float, float]]:
        """The answer, and the seconds until its first words: by the clock, and of CPU."""
        started, used = time.perf_counter(), time.process_time()
        (found,) = search(self.embed, store, [question], _PASSAGES)
        first = None
        item = WorkItem("answer", None, {}, {"question": question, "passages": found})
        for chunk in self.speak(item):
            if chunk.text and first is None:
                first = time.perf_counter() - started, time.process_time() - used
            if chunk.final is not None:
                return chunk.final.value, first or (0.0, 0.0)
        raise RuntimeError("the answer broke off")


def measure(
    questions: QuestionSet,
    documents: Mapping[str, Ingested],
    store: HeadRef,
    asker: Asker,
    limit: int,
    folder: Path,
    progress: Callable[[str, int, int], None],
) -> Answers:
    """``limit`` questions, drawn by a fixed seed, are answered; whether there is an answer is
    judged for all, with their document in the store and without it."""
    asked = questions.questions
    answers = Answers()
    drawn = random.Random(0).sample(asked, min(limit, len(asked)))
    for number, question in enumerate(drawn):
        value, first_s = asker.ask(store, question.text)
        _judge(answers, questions, question, value, documents)
        answers.first_s.append(first_s)
        progress(f"answers {questions.name}", number + 1, len(drawn))
    without = _without(documents, folder)
    texts = [question.text for question in asked]
    answers.answered = asker.judge([store] * len(asked), texts)
    answers.false_answers = asker.judge([without[str(q.document_id)] for q in asked], texts)
    return answers


def _without(documents: Mapping[str, Ingested], folder: Path) -> dict[str, HeadRef]:
    """Per document a store that lacks it, and with it a quarter of all documents: what else there
    is of its article mostly stays."""
    ids = list(documents)
    stores: dict[str, HeadRef] = {}
    for fold in range(min(_FOLDS, len(ids))):
        gone = set(ids[fold::_FOLDS])
        kept = {name: document for name, document in documents.items() if name not in gone}
        ref = write_store(kept, folder / f"without-{fold}")
        stores |= dict.fromkeys(gone, ref)
    return stores


def _judge(
    answers: Answers,
    questions: QuestionSet,
    question: Question,
    value: Mapping[str, Any],
    documents: Mapping[str, Ingested],
) -> None:
    citations = [a["file_citation"] for a in value["annotations"]]
    answers.verbatim += [
        documents[c["file_id"]].text[c["start_index"] : c["end_index"]] == c["quote"]
        for c in citations
    ]
    if not value["grounded"]:
        answers.scores.append((0.0, 0.0))
        return
    scores = _scores(question, value["content"], questions.is_chinese)
    answers.scores.append(scores)
    answers.scores_answered.append(scores[0])
    answers.supported.append(_is_supported(question, citations, questions.is_chinese))


def _scores(question: Question, content: str, is_chinese: bool) -> tuple[float, float]:
    """F1 and EM; of a yes/no question whether the first word is right."""
    if question.form is Form.LABEL:
        right = content.split(".")[0].strip().lower() in question.answers
        return float(right), float(right)
    return (
        f1(content, question.answers, is_chinese),
        float(exact(content, question.answers, is_chinese)),
    )


def _is_supported(
    question: Question, citations: Sequence[Mapping[str, Any]], is_chinese: bool
) -> bool:
    """Whether a quote comes from the right document and has the answer's words; of a yes/no
    question the right document is enough; of an answer in someone's own words, so are quotes half
    of whose words are the answer's."""
    own = [c for c in citations if c["file_id"] == question.document_id]
    if question.form is Form.LABEL:
        return bool(own)
    return any(
        holds(question, citation, is_chinese)
        or (
            question.form is Form.FREE
            and any(
                share_of(citation["quote"], answer, is_chinese) >= _QUOTE_SHARE
                for answer in question.answers
            )
        )
        for citation in own
    )


def _mean(values: Sequence[float] | Sequence[bool]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
