"""JSON lines for text: chats, questions with answers, and what is wrong with a line."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import open_texts, report_texts, split_by_group
from xingyue_adapters.datasets.texts import Turn


def chat(question: str, answer: str, **more: Any) -> str:
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return json.dumps({"messages": messages} | more, ensure_ascii=False)


def qa(question: str, answer: str, context: str = "") -> str:
    return json.dumps({"question": question, "answer": answer, "context": context})


def write(path: Path, *lines: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\r\n".join(lines).encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
def test_chats_and_questions(tmp_path: Path, scratch: Path, encoding: str) -> None:
    lines = [chat("GMP 是什么？", "药品生产质量管理规范。"), "", qa("What?", "That.", "About it.")]
    dataset = open_texts(write(tmp_path / "a.jsonl", *lines, encoding=encoding), scratch)
    first, second = dataset.samples
    assert (first.name, first.label) == ("a.jsonl:1", "chat")
    assert first.turns == (
        Turn("user", "GMP 是什么？"),
        Turn("assistant", "药品生产质量管理规范。"),
    )
    assert (second.name, second.label, second.context) == ("a.jsonl:3", "qa", "About it.")
    assert second.turns[0] == Turn("user", "About it.\n\nWhat?")
    assert second.answer == "That."


def test_a_folder_and_a_zip_of_it_are_the_same_set(tmp_path: Path, scratch: Path) -> None:
    write(tmp_path / "set" / "a.jsonl", chat("1", "x"))
    write(tmp_path / "set" / "b.jsonl", chat("2", "x"))
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("b", "a"):
            archive.write(tmp_path / "set" / f"{name}.jsonl", f"set/{name}.jsonl")
    folder, packed = (open_texts(tmp_path / n, scratch) for n in ("set", "set.zip"))
    assert folder.digest == packed.digest
    assert [s.name for s in folder.samples] == [s.name for s in packed.samples]


BROKEN = {
    "json": ("{", "is not JSON"),
    "list": ("[]", "not a JSON object"),
    "other": ('{"text": "x"}', "neither 'messages' nor"),
    "messages": ('{"messages": "x"}', "not a list of objects"),
    "role": ('{"messages": [{"role": "bot", "content": "x"}]}', "role 'bot'"),
    "no-answer": ('{"messages": [{"role": "user", "content": "x"}]}', "not the assistant's"),
    "no-user": ('{"messages": [{"role": "assistant", "content": "x"}]}', "is the user's"),
    "empty": (qa(" ", "x"), "'question' is empty"),
    "number": ('{"question": 1, "answer": "x"}', "'question' is empty or not text"),
}


@pytest.mark.parametrize(("line", "why"), BROKEN.values(), ids=BROKEN)
def test_a_broken_line_is_named(tmp_path: Path, scratch: Path, line: str, why: str) -> None:
    good = [chat(str(number), "x") for number in range(12)]
    dataset = open_texts(write(tmp_path / "a.jsonl", *good, line), scratch)
    assert list(dataset.unreadable) == ["a.jsonl:13"]
    assert why in dataset.unreadable["a.jsonl:13"]
    (note,) = report_texts(dataset, samples_min=10).notes
    assert (note.severity, note.code, note.files) == ("warning", "unreadable_line", ("a.jsonl:13",))


def test_what_is_said_of_a_set(tmp_path: Path, scratch: Path) -> None:
    lines = [chat("a", "1"), chat("a", "1"), chat("b", "1"), chat("b", "2"), "{", "{"]
    dataset = open_texts(write(tmp_path / "a.jsonl", *lines), scratch)
    held = open_texts(write(tmp_path / "v.jsonl", chat("a", "9"), chat("z", "1")), scratch)
    report = report_texts(dataset, samples_min=50, method="LoRA", validation=held)
    found = {note.code: note for note in report.notes}
    assert "LoRA needs 50 usable lines or more, this set has 4; add 46" in (
        found["too_few_samples"].message
    )
    assert found["unreadable_line"].severity == "error"
    assert found["duplicates"].files == ("a.jsonl:2",)
    assert found["contradicting_answers"].files == ("a.jsonl:3", "a.jsonl:4")
    assert found["split_leakage"].files == ("v.jsonl:1",)
    assert report.classes == {"chat": 4}


def test_lines_on_one_context_are_not_split(tmp_path: Path, scratch: Path) -> None:
    lines = [qa(f"{n}?", "x", f"context {n // 4}") for n in range(40)]
    lines += [chat(f"{n}?", "x", group=f"g{n // 5}") for n in range(40)]
    dataset = open_texts(write(tmp_path / "a.jsonl", *lines), scratch)
    fitted, held = split_by_group(dataset.samples, share=0.25, seed=1)
    assert not {s.group for s in fitted} & {s.group for s in held}
    assert {s.label for s in held} == {"chat", "qa"}


@pytest.mark.parametrize("name", ["a.txt", "folder", "missing.jsonl"])
def test_no_lines_at_all(tmp_path: Path, scratch: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InvalidRequest, match=r"send \.jsonl of") as caught:
        open_texts(tmp_path / name, scratch)
    assert caught.value.param == "data"
