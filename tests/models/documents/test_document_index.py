"""Passages, index, search and evidence, with made-up embeddings of two dimensions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from xingyue.errors import InvalidRequest
from xingyue_models.documents.evidence import find_evidence
from xingyue_models.documents.extracted import DocumentLimits, Extracted
from xingyue_models.documents.index import DocumentIndex, build_index, merge_indexes
from xingyue_models.documents.passages import Chunking, split
from xingyue_models.documents.reading import read
from xingyue_models.documents.search import score, top

STORAGE = "# 贮藏\n\n本品应在2至8℃避光保存。有效期为24个月。\n\n# 包装\n\n每盒10支。"
LABEL = "Store the vials in a refrigerator. Do not freeze.\n\nThe usual dose is 40 mg every week."
QUERY = np.array([1, 0], np.float32)


def index_of(text: str, name: str, width_max: int = 120) -> tuple[Extracted, DocumentIndex]:
    document = read(text.encode(), name, None, DocumentLimits())
    passages = split(document, Chunking(width_max))
    count = sum(len(passage.sentences) for passage in passages)
    rows = np.tile(np.array([0.6, 0.8], np.float32), (count, 1))
    return document, build_index(document, passages, rows, file_id=name, filename=name)


def test_passages_and_sentences_are_the_text_at_their_offsets() -> None:
    document = read(STORAGE.encode(), "a.md", None, DocumentLimits())
    passages = split(document, Chunking(100))
    assert [p.heading for p in passages] == ["贮藏", "包装"]
    words = [s.of(document.text) for p in passages for s in p.sentences]
    assert "有效期为24个月。" in words
    for before, after in pairwise(passages):
        assert before.span.end <= after.span.start


def test_a_passage_never_crosses_a_page() -> None:
    document = Extracted("One.\fTwo.\f", "t", page_starts=(0, 5))
    passages = split(document, Chunking())
    assert [(p.page, p.span.of(document.text)) for p in passages] == [(1, "One."), (2, "Two.")]


@pytest.mark.parametrize("value", [{"width_max": 5}, {"size": 1}, [], {"width_max": 1.5}])
def test_chunking_is_checked(value: object) -> None:
    with pytest.raises(InvalidRequest, match="chunking"):
        Chunking.parse(value)


@pytest.mark.parametrize(
    ("question", "file", "words"),
    [
        pytest.param("有效期是多久？", "a.md", "有效期为24个月。", id="zh"),
        pytest.param("What is the usual dose?", "b.txt", "usual dose is 40 mg", id="en"),
        pytest.param("ｆｒｅｅｚｅ", "b.txt", "Do not freeze.", id="full-width"),
    ],
)
def test_search_finds_the_sentence(question: str, file: str, words: str) -> None:
    parts = [index_of(STORAGE, "a.md")[1].to_bytes(), index_of(LABEL, "b.txt")[1].to_bytes()]
    index = DocumentIndex.from_bytes(merge_indexes(parts))
    scores = score(index, question, QUERY)
    passages = [int(p) for p in top(scores, 3, None)]
    assert index.files[index.passages[passages[0], 0]]["file_id"] == file
    sentences = find_evidence(index, question, scores, passages)[0]
    best = max(sentences, key=lambda s: s.coverage)
    assert words in index.words(passages[0])[best.start : best.end]
    assert all(0 < s.relevance < 1 for s in sentences)


def test_merging_keeps_every_file_where_it_was() -> None:
    document, one = index_of(STORAGE, "a.md")
    _, two = index_of(LABEL, "b.txt")
    merged = DocumentIndex.from_bytes(merge_indexes([one.to_bytes(), two.to_bytes()]))
    assert [about["file_id"] for about in merged.files] == ["a.md", "b.txt"]
    assert len(merged.passages) == len(one.passages) + len(two.passages)
    for number in range(len(one.passages)):
        row = merged.passages[number]
        assert merged.words(number) == document.text[row[2] : row[3]]
    assert merge_indexes([merged.to_bytes()]) == merged.to_bytes()


@pytest.mark.parametrize(
    "data", [b"", b"pickle", b"\x80\x04K\x01."], ids=["empty", "text", "pickle"]
)
def test_what_is_no_index_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest, match="not a document index") as refused:
        DocumentIndex.from_bytes(data)
    assert refused.value.code == "invalid_index"


def test_indexes_of_other_embeddings_do_not_merge() -> None:
    _, one = index_of(LABEL, "b.txt")
    document = read(b"x", "c.txt", None, DocumentLimits())
    passages = split(document, Chunking())
    other = build_index(document, passages, np.ones((1, 3), np.float32), file_id="c", filename="c")
    with pytest.raises(InvalidRequest, match="different sizes"):
        merge_indexes([one.to_bytes(), other.to_bytes()])
