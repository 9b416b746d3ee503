"""A map of queries as a head: what it does to either side, how a search ranks by it, what is
refused. The trunk is real, its encoder knows a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from xingyue.contract import HeadFiles, WorkItem, WorkResult
from xingyue.errors import InvalidRequest
from xingyue_models.documents.extracted import DocumentLimits
from xingyue_models.text_embedding.query_map import QueryMap
from xingyue_models.text_embedding.trunk import EmbeddingTrunk

WIDTH = 512
WORDS = ("cabinet", "locker", "gate")


class WordEncoder:
    """A text is the first of ``WORDS`` in it, an axis each."""

    def encode(self, texts: Sequence[str]) -> Any:
        rows = np.zeros((len(texts), WIDTH), np.float32)
        for row, text in zip(rows, texts, strict=True):
            row[next((i for i, word in enumerate(WORDS) if word in text), WIDTH - 1)] = 1
        return rows

    def count_tokens(self, text: str) -> int:
        return len(text.split())


@pytest.fixture
def trunk() -> EmbeddingTrunk:
    return EmbeddingTrunk(WordEncoder(), DocumentLimits())  # type: ignore[arg-type]


def towards_gate() -> dict[str, Any]:
    """Maps ``locker`` onto ``gate``."""
    down, up = np.zeros((WIDTH, 1), np.float32), np.zeros((1, WIDTH), np.float32)
    down[1, 0] = 1
    up[0, 1], up[0, 2] = -1, 1
    return {"down": down, "up": up}


def head(trunk: EmbeddingTrunk, folder: Path, tensors: Mapping[str, Any], **manifest: Any) -> Any:
    save_file(dict(tensors), folder / "head.safetensors")
    told = {"kind": "query-map", "format_version": 1, "cosine_weight": 0.8} | manifest
    return trunk.load_head(HeadFiles(folder, told))


def one(trunk: EmbeddingTrunk, op: str, given: Any, loaded: Any = None) -> Any:
    (outcome,) = trunk.infer([WorkItem(op, None, {}, given)], [loaded])
    if not isinstance(outcome, WorkResult):
        raise outcome
    return outcome.value


@pytest.mark.parametrize("side", ["query", "document", "passage"])
def test_queries_alone_are_mapped(trunk: EmbeddingTrunk, tmp_path: Path, side: str) -> None:
    loaded = head(trunk, tmp_path, towards_gate())
    value = one(trunk, "embed", {"input": "locker", "input_type": side}, loaded)
    assert int(np.argmax(value["embedding"])) == (2 if side == "query" else 1)
    assert np.linalg.norm(value["embedding"]) == pytest.approx(1)
    assert value.get("cosine_weight") == (0.8 if side == "query" else None)
    plain = one(trunk, "embed", {"input": "locker", "input_type": side})
    assert int(np.argmax(plain["embedding"])) == 1


def test_one_batch_mixes_variants(trunk: EmbeddingTrunk, tmp_path: Path) -> None:
    loaded = head(trunk, tmp_path, towards_gate())
    items = [WorkItem("embed", None, {}, {"input": "locker", "input_type": "query"})] * 3
    found = trunk.infer(items, [None, loaded, QueryMap.identity()])
    assert [int(np.argmax(each.value["embedding"])) for each in found] == [1, 2, 1]  # type: ignore[union-attr]


def test_a_search_ranks_by_it_and_tells_the_trunks_own_score(
    trunk: EmbeddingTrunk, tmp_path: Path
) -> None:
    parts = {}
    for number, text in enumerate(("Keys hang in the locker.", "Badges lie at the gate.")):
        params = {"filename": f"{number}.txt", "file_id": f"file-{number}"}
        (made,) = trunk.infer(
            [WorkItem("ingest", None, {"document": text.encode()}, params)], [None]
        )
        assert isinstance(made, WorkResult)
        parts[str(number)] = made.blobs["index"]
    (merged,) = trunk.infer([WorkItem("merge", None, parts)], [None])
    assert isinstance(merged, WorkResult)
    (tmp_path / "index.safetensors").write_bytes(merged.blobs["index"])
    store = trunk.load_head(HeadFiles(tmp_path, {"kind": "document-index"}))
    mapped = one(
        trunk,
        "embed",
        {"input": "locker", "input_type": "query"},
        head(trunk, tmp_path, towards_gate()),
    )
    ranking = {name: mapped[name] for name in ("embedding", "cosine_weight")}
    asked = {"query": "which locker", "top_k": 2}
    before = one(trunk, "search", asked, store)["results"]
    after = one(trunk, "search", asked | {"ranking": ranking}, store)["results"]
    assert [r["file_id"] for r in before] == ["file-0", "file-1"]
    assert [r["file_id"] for r in after] == ["file-1", "file-0"]
    assert after[0]["score"] == pytest.approx(0.8, abs=1e-4)
    base = {r["file_id"]: r["score"] for r in before}
    assert {r["file_id"]: r["base_score"] for r in after} == base
    assert "base_score" not in before[0]
    by_file = {r["file_id"]: (r["cosine"], r["bm25"]) for r in before}
    assert {r["file_id"]: (r["cosine"], r["bm25"]) for r in after} == by_file


WRONG_HEADS = {
    "format": ({}, {"format_version": 2}, "format 2"),
    "weight": ({}, {"cosine_weight": 1.5}, "cosine_weight"),
    "no weight": ({}, {"cosine_weight": None}, "cosine_weight"),
    "kind": ({}, {"kind": "linear"}, "kind 'linear'"),
    "width": ({"down": np.zeros((8, 1), np.float32)}, {}, "fits"),
    "rank": ({"up": np.zeros((2, WIDTH), np.float32)}, {}, "fits"),
    "type": ({"up": np.zeros((1, WIDTH), np.float64)}, {}, "float32 matrix 'up'"),
    "nan": ({"up": np.full((1, WIDTH), np.nan, np.float32)}, {}, "not finite"),
}


@pytest.mark.parametrize(("tensors", "manifest", "words"), WRONG_HEADS.values(), ids=WRONG_HEADS)
def test_heads_that_are_refused(
    trunk: EmbeddingTrunk, tmp_path: Path, tensors: Any, manifest: Any, words: str
) -> None:
    with pytest.raises(InvalidRequest, match=words):
        head(trunk, tmp_path, towards_gate() | tensors, **manifest)


def test_a_head_without_its_file_is_refused(trunk: EmbeddingTrunk, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"no readable head\.safetensors"):
        trunk.load_head(HeadFiles(tmp_path, {"kind": "query-map", "format_version": 1}))


WRONG_CALLS = {
    "side not said": ("embed", {"input": "x"}, "input_type", "say input_type"),
    "side unknown": ("embed", {"input": "x", "input_type": "title"}, "input_type", "one of query"),
    "no store": ("search", {"query": "x"}, "head", "needs a vector store"),
}


@pytest.mark.parametrize(("op", "given", "param", "words"), WRONG_CALLS.values(), ids=WRONG_CALLS)
def test_calls_of_a_variant_that_are_refused(
    trunk: EmbeddingTrunk, tmp_path: Path, op: str, given: Any, param: str, words: str
) -> None:
    loaded = head(trunk, tmp_path, towards_gate())
    with pytest.raises(InvalidRequest, match=words) as raised:
        one(trunk, op, given, loaded)
    assert raised.value.param == param


@pytest.mark.parametrize(
    ("ranking", "param"),
    [
        ("best", "ranking"),
        ({"embedding": [0.0] * WIDTH}, "ranking"),
        ({"embedding": [0.0] * 3, "cosine_weight": 0.5}, "ranking.embedding"),
        ({"embedding": ["a"] * WIDTH, "cosine_weight": 0.5}, "ranking.embedding"),
        ({"embedding": [0.0] * WIDTH, "cosine_weight": 2}, "ranking.cosine_weight"),
    ],
    ids=["text", "half", "short", "words", "weight"],
)
def test_rankings_that_are_refused(
    trunk: EmbeddingTrunk, tmp_path: Path, ranking: Any, param: str
) -> None:
    (made,) = trunk.infer(
        [WorkItem("ingest", None, {"document": b"x."}, {"filename": "a.txt", "file_id": "f"})],
        [None],
    )
    assert isinstance(made, WorkResult)
    (tmp_path / "index.safetensors").write_bytes(made.blobs["index"])
    store = trunk.load_head(HeadFiles(tmp_path, {"kind": "document-index"}))
    with pytest.raises(InvalidRequest) as raised:
        one(trunk, "search", {"query": "x", "ranking": ranking}, store)
    assert raised.value.param == param
