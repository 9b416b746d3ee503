"""The recipes on small made documents, with parts that need no weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xingyue.contract import Chunk, EvalContext, HeadFiles, HeadRef, WorkItem, WorkResult
from xingyue.errors import InvalidRequest
from xingyue_adapters.document_qa.datasets import Form, Question
from xingyue_adapters.document_qa.recipe import DocumentQaRecipe, RetrievalRecipe
from xingyue_adapters.document_qa.retrieval import holds
from xingyue_adapters.document_qa.split import REPORT, side
from xingyue_models.documents.extracted import DocumentLimits
from xingyue_models.language_model.answer import answer_value
from xingyue_models.language_model.passages import Found, ranked_evidence
from xingyue_models.text_embedding.trunk import EmbeddingTrunk

FACTS = ("2至8℃", "24个月", "40毫克", "每两周", "28天", "苏州", "李明", "1998年")


class FlatEncoder:
    """Every text has the same vector: the search is by words alone."""

    def encode(self, texts: Sequence[str]) -> Any:
        return np.tile(np.eye(1, 512, dtype=np.float32), (len(texts), 1))

    def count_tokens(self, text: str) -> int:
        return 1


class Parts:
    """The embedding's real trunk with that encoder, and an assistant that quotes a sentence."""

    def __init__(self) -> None:
        self.trunk = EmbeddingTrunk(FlatEncoder(), DocumentLimits())  # type: ignore[arg-type]
        self.heads: dict[str, Any] = {}

    def embed(self, items: Sequence[WorkItem]) -> list[Any]:
        return self.trunk.infer(items, [self._head(item.head) for item in items])

    def speak(self, item: WorkItem) -> Iterator[Chunk]:
        found = tuple(Found.parse(i, p) for i, p in enumerate(item.params["passages"]))
        best = max(ranked_evidence(found), key=lambda e: e.sentence.coverage)
        sure = best.sentence.coverage > 0.6
        said = best.text if sure else "文档中没有。"
        value = answer_value(said, [best] if sure else [], "stop", 1, 1)
        yield Chunk(said, 1)
        yield Chunk("", 2, WorkResult(value, 2))

    def judge(self, items: Sequence[WorkItem]) -> list[Any]:
        finals = [list(self.speak(item))[-1].final for item in items]
        return [WorkResult({"grounded": final.value["grounded"]}, 0) for final in finals if final]

    def _head(self, ref: HeadRef | None) -> Any:
        if ref is None:
            return None
        folder = Path(ref.uri.removeprefix("file://"))
        if ref.digest not in self.heads:
            manifest = json.loads((folder / "manifest.json").read_text())
            self.heads[ref.digest] = self.trunk.load_head(HeadFiles(folder, manifest))
        return self.heads[ref.digest]

    def context(self, data: Path, **options: Any) -> EvalContext:
        return EvalContext(
            {"pharma-embedding": self.embed, "pharma-assistant": self.judge},
            {"pharma-embedding": self.speak, "pharma-assistant": self.speak},
            data,
            options,
        )


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A set as CMRC 2018 is laid out, of articles on the reporting side."""
    names = [f"D{i}" for i in range(99) if side("cmrc2018", f"D{i}") == REPORT][: len(FACTS)]
    folder = tmp_path / "cmrc2018-zh" / "dev"
    folder.mkdir(parents=True)
    contexts = [
        {"context_id": n, "title": n, "context": f"甲{n}的数据为{fact}。其余从略。"}
        for n, fact in zip(names, FACTS, strict=True)
    ]
    questions = [
        {"id": n, "context_id": n, "question": f"甲{n}的数据为？", "answers": [fact]}
        for n, fact in zip(names, FACTS, strict=True)
    ]
    for name, rows in (("contexts", contexts), ("qa", questions)):
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return tmp_path


def test_document_qa_is_judged_by_search_answers_and_refusals(data: Path) -> None:
    retrieval, answers, refusals = DocumentQaRecipe().evaluate(Parts().context(data, limit=4))
    assert retrieval.metrics["cmrc2018-zh.hit_5"] == 1.0
    assert answers.metrics["cmrc2018-zh.citation_verbatim"] == 1.0
    assert answers.metrics["cmrc2018-zh.citation_precision"] == 1.0
    assert 0 < answers.metrics["cmrc2018-zh.f1"] < 1
    assert answers.metrics["cmrc2018-zh.answered"] == 1.0
    assert answers.metrics["cmrc2018-zh.false_answers"] < 1.0
    assert answers.rows[0][:2] == ("cmrc2018-zh", "4")
    for table in (answers, refusals):
        assert len(table.columns) == len(table.rows[0])


def test_retrieval_alone_needs_the_embedding_alone(data: Path) -> None:
    parts = Parts()
    context = EvalContext({"pharma-embedding": parts.embed}, {}, data)
    (table,) = RetrievalRecipe().evaluate(context)
    assert table.metrics["cmrc2018-zh.hit_1"] == 1.0
    assert "holdouts were not read" in table.note


def test_a_folder_without_sets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="no question set") as refused:
        DocumentQaRecipe().evaluate(Parts().context(tmp_path))
    assert refused.value.param == "data"


@pytest.mark.parametrize(
    ("form", "file", "text", "expected"),
    [
        pytest.param(Form.SPAN, "a", "有效期24个月。", True, id="span"),
        pytest.param(Form.SPAN, "b", "有效期24个月。", False, id="other-document"),
        pytest.param(Form.FREE, "a", "为24个月", True, id="own-words"),
        pytest.param(Form.FREE, "a", "冷藏", False, id="other-words"),
    ],
)
def test_what_holds_an_answer(form: Form, file: str, text: str, expected: bool) -> None:
    question = Question("q", "a", "?", ("24个月",), REPORT, form)
    assert holds(question, {"file_id": file, "text": text}, True) is expected
