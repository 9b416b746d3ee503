"""Question sets of the industry: PubMedQA, FDA labels, Chinese GMP."""

from __future__ import annotations

from pathlib import Path

from xingyue_adapters.document_qa.datasets import Form, Question, QuestionSet, Source, rows
from xingyue_adapters.document_qa.split import REPORT, side


def pharma_sets(data: Path) -> list[QuestionSet]:
    """Those that lie under ``data``."""
    return [*fda_labels(data), *pubmedqa(data), *gmp_golden(data)]


def pubmedqa(data: Path) -> list[QuestionSet]:
    """Questions of yes, no or maybe over abstracts without their conclusion."""
    sources, questions = [], []
    for row in rows(data / "pubmedqa" / "dev" / "qa.jsonl"):
        name, own = row["id"], side("pubmedqa", row["id"])
        text = "\n\n".join(row["contexts"]).encode()
        sources.append(Source(name, f"{name}.txt", text, own))
        questions.append(Question(name, name, row["question"], (row["answer"],), own, Form.LABEL))
    return _set("pubmedqa", sources, questions, is_chinese=False)


def fda_labels(data: Path) -> list[QuestionSet]:
    """Questions on one label among several; answers are free text. Nothing is fitted on it."""
    folder = data / "fda-labels" / "dev"
    found = rows(folder / "qa_remdesivir.jsonl")
    sources = [
        Source(f"spl/{path.name}", path.name, path.read_bytes(), REPORT)
        for path in sorted((folder / "spl").glob("*.xml"))
    ]
    indications = "\n\n".join(row["text"] for row in rows(folder / "indications.jsonl"))
    if indications:
        sources.append(Source("indications", "indications.txt", indications.encode(), REPORT))
    questions = [
        Question(row["id"], row["doc"], row["question"], (row["answer"],), REPORT, Form.FREE)
        for row in found
    ]
    return _set("fda-labels", sources, questions, is_chinese=False)


def gmp_golden(data: Path) -> list[QuestionSet]:
    """The regulation itself could not be had: each question's answer points are its document, so
    this shows that search, wording and refusal work on GMP prose, not that a rule is known."""
    sources, questions = [], []
    for row in rows(data / "gmp-zh-golden" / "dev" / "qa.jsonl"):
        points = "。\n".join(row["answer_points"]) + "。"
        sources.append(Source(row["id"], f"{row['id']}.txt", points.encode(), REPORT))
        questions.append(
            Question(row["id"], row["id"], row["question"], (points,), REPORT, Form.FREE)
        )
    return _set("gmp-zh-golden", sources, questions, is_chinese=True)


def _set(
    name: str, sources: list[Source], questions: list[Question], *, is_chinese: bool
) -> list[QuestionSet]:
    return [QuestionSet(name, tuple(sources), tuple(questions), is_chinese)] if questions else []
