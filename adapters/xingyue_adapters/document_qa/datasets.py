"""Question sets over documents, as their publishers' files hold them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from xingyue_adapters.document_qa.split import side


@dataclass(frozen=True, slots=True)
class Source:
    """A document as a customer would upload it. ``side``: see ``split``."""

    id: str
    filename: str
    data: bytes
    side: str


class Form(Enum):
    """How an answer relates to its document."""

    SPAN = "span"
    """Words of the document."""
    LABEL = "label"
    """Yes, no or maybe, which no document says in so many words."""
    FREE = "free"
    """Someone's own words."""


@dataclass(frozen=True, slots=True)
class Question:
    """``answers``: accepted answers; empty where no document holds one."""

    id: str
    document_id: str | None
    text: str
    answers: tuple[str, ...]
    side: str
    form: Form = Form.SPAN


@dataclass(frozen=True, slots=True)
class QuestionSet:
    name: str
    sources: tuple[Source, ...]
    questions: tuple[Question, ...]
    is_chinese: bool
    """Of the documents; decides how answers are compared."""

    def of(self, wanted: str) -> QuestionSet:
        return replace(
            self,
            sources=tuple(s for s in self.sources if s.side == wanted),
            questions=tuple(q for q in self.questions if q.side == wanted),
        )


def reading_sets(data: Path) -> list[QuestionSet]:
    """Sets whose answers are spans of a document; those that lie under ``data``."""
    return [*_cmrc(data), *_xquad(data), *_covidqa(data)]


def rows(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file; none where the file is absent."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text("utf-8").splitlines() if line.strip()]


def _cmrc(data: Path) -> Iterator[QuestionSet]:
    folder = data / "cmrc2018-zh" / "dev"
    contexts = rows(folder / "contexts.jsonl")
    if not contexts:
        return
    sides = {c["context_id"]: side("cmrc2018", c["context_id"]) for c in contexts}
    yield QuestionSet(
        "cmrc2018-zh",
        tuple(
            Source(
                c["context_id"],
                (c["title"] or c["context_id"]).replace("/", "-") + ".txt",
                c["context"].encode(),
                sides[c["context_id"]],
            )
            for c in contexts
        ),
        tuple(
            Question(
                q["id"], q["context_id"], q["question"], tuple(q["answers"]), sides[q["context_id"]]
            )
            for q in rows(folder / "qa.jsonl")
        ),
        is_chinese=True,
    )


def _xquad(data: Path) -> Iterator[QuestionSet]:
    """Chinese and English, and the Chinese questions asked of the English documents."""
    folder = data / "xquad-zh-en" / "dev"
    questions, sources = {}, {}
    for language in ("zh", "en"):
        contexts = rows(folder / f"contexts.{language}.jsonl")
        if not contexts:
            return
        sources[language] = tuple(
            Source(
                c["context_id"],
                f"{language}-{c['context_id']}.txt",
                c["context"].encode(),
                _xquad_side(c["context_id"]),
            )
            for c in contexts
        )
        questions[language] = {
            q["id"]: Question(
                q["id"],
                q["context_id"],
                q["question"],
                tuple(q["answers"]),
                _xquad_side(q["context_id"]),
            )
            for q in rows(folder / f"qa.{language}.jsonl")
        }
        yield QuestionSet(
            f"xquad-{language}",
            sources[language],
            tuple(questions[language].values()),
            is_chinese=language == "zh",
        )
    crossed = tuple(
        replace(question, text=questions["zh"][key].text)
        for key, question in questions["en"].items()
        if key in questions["zh"]
    )
    yield QuestionSet("xquad-zh-on-en", sources["en"], crossed, is_chinese=False)


def _xquad_side(context_id: str) -> str:
    return side("xquad", context_id.partition("-")[0])


def _covidqa(data: Path) -> Iterator[QuestionSet]:
    folder = data / "covidqa-biomed" / "dev"
    contexts = rows(folder / "contexts.jsonl")
    if not contexts:
        return
    sides = {str(c["context_id"]): side("covidqa", str(c["context_id"])) for c in contexts}
    yield QuestionSet(
        "covidqa-biomed",
        tuple(
            Source(
                str(c["context_id"]),
                f"{_first_line(c['context'])}.txt",
                c["context"].encode(),
                sides[str(c["context_id"])],
            )
            for c in contexts
        ),
        tuple(
            Question(
                str(q["id"]),
                str(q["context_id"]),
                q["question"],
                (q["answer"],),
                sides[str(q["context_id"])],
            )
            for q in rows(folder / "qa.jsonl")
        ),
        is_chinese=False,
    )


def _first_line(text: str) -> str:
    """The paper's title, as a file name."""
    return next(line for line in text.splitlines() if line.strip())[:100].replace("/", "-")
