"""Training pairs for retrieval: whose names are read, and what is wrong with a line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import open_pairs, report_texts


def write(path: Path, *rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"query": "q?", "positive": "p"},
        {"question": "q?", "passage": "p"},
        {"anchor": " q? ", "positive": "p\n"},
        {"question": "q?", "answer": "p"},
        {"question": "q?", "answer": "a", "context": "p"},
        {"question": "q?", "answer": "p", "context": ""},
    ],
    ids=lambda row: "-".join(row),
)
def test_names_that_are_read(tmp_path: Path, scratch: Path, row: dict[str, str]) -> None:
    (sample,) = open_pairs(write(tmp_path / "a.jsonl", row), scratch).samples
    assert (sample.query, sample.positive, sample.negatives) == ("q?", "p", ())


def test_negatives_and_groups(tmp_path: Path, scratch: Path) -> None:
    rows = (
        {"query": "1", "positive": "p", "negatives": ["x", "y", "x"], "group": 7},
        {"query": "2", "positive": "p", "negative": "x"},
        {"query": "3", "positive": "p"},
    )
    dataset = open_pairs(write(tmp_path / "a.jsonl", *rows), scratch)
    first, second, third = dataset.samples
    assert (first.negatives, first.group) == (("x", "y"), "7")
    assert second.negatives == ("x",)
    # Without a group, questions of one passage belong together.
    assert second.group == third.group != first.group
    assert not dataset.grouped


BROKEN = {
    "no query": ({"positive": "p"}, "has no 'query'"),
    "no positive": ({"query": "q"}, "has no 'positive'"),
    "empty query": ({"query": " ", "positive": "p"}, "'query' is empty"),
    "empty positive": ({"query": "q", "positive": ""}, "'positive' is empty"),
    "number": ({"query": 1, "positive": "p"}, "'query' is empty or not text"),
    "empty negative": ({"query": "q", "positive": "p", "negatives": [""]}, "'negatives'"),
    "right and wrong": ({"query": "q", "positive": "p", "negatives": ["p"]}, "its positive among"),
    "many negatives": (
        {"query": "q", "positive": "p", "negatives": list("abcdefghijklmnrst")},
        "more than 16 negatives",
    ),
    "group": ({"query": "q", "positive": "p", "group": []}, "'group'"),
    "long query": ({"query": "q" * 4001, "positive": "p"}, "more than 4000 characters"),
    "json": ("{", "is not JSON"),
}


@pytest.mark.parametrize(("row", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_named_by_number(
    tmp_path: Path, scratch: Path, row: Any, why: str
) -> None:
    path = write(tmp_path / "a.jsonl", {"query": "q", "positive": "p"}, row)
    dataset = open_pairs(path, scratch)
    assert len(dataset.samples) == 1
    assert why in dataset.unreadable["a.jsonl:2"]


def test_documents_beside_pairs_in_a_folder_or_a_zip(tmp_path: Path, scratch: Path) -> None:
    write(tmp_path / "set" / "pairs.jsonl", {"query": "q", "positive": "p"})
    write(tmp_path / "set" / "sop.md", "# SOP")
    write(tmp_path / "set" / "table.csv", "no text")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for path in sorted((tmp_path / "set").iterdir()):
            archive.write(path, f"set/{path.name}")
    folder, packed = (open_pairs(tmp_path / name, scratch) for name in ("set", "set.zip"))
    assert folder.kind == packed.kind == "jsonl-and-documents"
    assert list(folder.documents) == list(packed.documents) == ["sop.md"]
    assert folder.digest == packed.digest
    # A document is data here, not a read-me: another one is another set.
    write(tmp_path / "set" / "sop.md", "# SOP 2")
    assert open_pairs(tmp_path / "set", scratch).digest != folder.digest


def test_neither_pairs_nor_documents(tmp_path: Path, scratch: Path) -> None:
    write(tmp_path / "set" / "a.csv", "q,p")
    with pytest.raises(InvalidRequest, match=r"neither \.jsonl files nor documents") as raised:
        open_pairs(tmp_path / "set", scratch)
    assert raised.value.param == "data"


def test_a_question_may_have_several_passages(tmp_path: Path, scratch: Path) -> None:
    rows = [{"query": "q", "positive": p} for p in ("1", "2", "2")]
    dataset = open_pairs(write(tmp_path / "a.jsonl", *rows), scratch)
    codes = [n.code for n in report_texts(dataset, samples_min=1, several_answers=True).notes]
    assert codes == ["duplicates"]
    codes = [n.code for n in report_texts(dataset, samples_min=1).notes]
    assert codes == ["duplicates", "contradicting_answers"]


def test_half_an_emoji_is_a_fault_of_its_line_alone(tmp_path: Path, scratch: Path) -> None:
    cut = '{"query": "x", "positive": "cut \\ud83d", "group": "g"}'
    dataset = open_pairs(write(tmp_path / "a.jsonl", {"query": "q", "positive": "p"}, cut), scratch)
    assert len(dataset.samples) == 1
    assert list(dataset.unreadable) == ["a.jsonl:2"]
