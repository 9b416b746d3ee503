"""Fits on the real encoder, through the recipe's door: head, report, parity, refusals."""

from __future__ import annotations

import hashlib
import json
import random
from typing import Any

import numpy as np
import pytest

from xingyue.contract import HeadFiles, RuntimeSpec, TuningRecipe, WorkItem
from xingyue.errors import Cancelled, InvalidRequest
from xingyue_adapters.document_qa.recipe import RetrievalRecipe
from xingyue_models.text_embedding.family import TextEmbedding

pytestmark = pytest.mark.weights
RECIPE = RetrievalRecipe()


def report_of(result: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((result.report / "report.json").read_text("utf-8"))
    return found


def test_a_fit_helps_questions_of_groups_it_never_saw(build, pairs, write, tmp_path):
    data = write(tmp_path / "pairs.jsonl", pairs)
    result = RECIPE.fit(build(data, {"steps": 60}))
    told = report_of(result)
    found = result.metrics
    assert found["held_out_questions"] == told["split"]["held_out"]["questions"] == 12
    assert told["split"]["held_out"]["groups"] == 3
    assert found["vectors_mrr"] > found["base_vectors_mrr"] + 0.1
    assert found["mrr"] >= found["base_mrr"]
    assert told["choices"]["regularisation"] is not None
    assert any("queries are mapped" in said for said in told["verdict"])
    assert {row["group"] for row in told["groups"]} <= {pair["group"] for pair in pairs}
    assert sum(row["questions"] for row in told["groups"]) == 12
    assert told["pictures"] == ["gains.png", "worst.png"]
    for name in told["pictures"]:
        assert (result.report / name).read_bytes().startswith(b"\x89PNG")
    assert 0 <= result.parity <= result.parity_max == 1e-3
    manifest = json.loads((result.head / "manifest.json").read_text())
    data_digest = hashlib.sha256((result.head / "head.safetensors").read_bytes()).hexdigest()
    assert manifest["files"] == {"head.safetensors": data_digest}
    assert (manifest["kind"], manifest["metrics"]) == ("query-map", found)


def test_equal_data_settings_and_seed_give_equal_bytes(build, pairs, write, tmp_path):
    data = write(tmp_path / "pairs.jsonl", pairs)
    settings = {"regularisation": 0.1, "steps": 20}
    heads = [RECIPE.fit(build(data, settings, seed=seed)).head for seed in (3, 3, 4)]
    first, again, other = ((head / "head.safetensors").read_bytes() for head in heads)
    assert first == again != other


def test_what_cannot_be_learned_is_left_as_it_is(build, pairs, write, tmp_path, weights):
    shuffled = [pair["positive"] for pair in pairs]
    random.Random(5).shuffle(shuffled)
    rows = [
        {"query": pair["query"], "positive": text}
        for pair, text in zip(pairs, shuffled, strict=True)
    ]
    result = RECIPE.fit(build(write(tmp_path / "pairs.jsonl", rows), {"steps": 40}))
    told = report_of(result)
    assert told["choices"]["regularisation"] is None
    assert "queries stay as they are" in told["verdict"][0]
    assert result.metrics["vectors_mrr"] == result.metrics["base_vectors_mrr"]
    trunk = TextEmbedding().load_trunk(weights, RuntimeSpec())
    head = trunk.load_head(
        HeadFiles(result.head, json.loads((result.head / "manifest.json").read_text()))
    )
    items = [WorkItem("embed", None, {}, {"input": "aspirin", "input_type": "query"})] * 2
    mapped, plain = (np.array(o.value["embedding"]) for o in trunk.infer(items, [head, None]))
    assert mapped == pytest.approx(plain, abs=1e-6)


def test_documents_alone_become_pairs_of_headings_and_sections(build, tmp_path):
    folder = tmp_path / "documents"
    folder.mkdir()
    for number, thing in enumerate(("Tablets", "Syrup", "Vials", "Foil", "Water", "Air", "Pens")):
        sections = [
            f"## {part}\n\n{thing} are subject to rule {number}{place}: {part.lower()} is "
            f"told in the procedure for {thing.lower()}, and every batch is followed up by hand."
            for place, part in enumerate(("Storage", "Cleaning", "Labels", "Recall", "Sampling"))
        ]
        (folder / f"{thing}.md").write_text(f"# {thing}\n\n" + "\n\n".join(sections))
    report = RECIPE.validate(folder, "supervised", tmp_path / "scratch")
    assert (report.kind, report.samples, report.errors) == ("documents", 35, ())
    assert "pairs_from_headings" in [note.code for note in report.notes]
    told = report_of(RECIPE.fit(build(folder, {"regularisation": 0.1, "steps": 20})))
    assert told["method"] == "documents"
    assert told["split"]["by"] == "group"
    assert "headings find their sections" in json.dumps(told["dataset"]["notes"])


def test_documents_beside_pairs_are_told_apart_and_repeats_left_out(build, pairs, write, tmp_path):
    folder = tmp_path / "set"
    write(folder / "pairs.jsonl", pairs)
    (folder / "same.txt").write_text(pairs[0]["positive"])
    (folder / "other.txt").write_text("Visitors sign in at the gate. They wear a badge all day.")
    (folder / "broken.pdf").write_text("no PDF")
    said: list[str] = []
    result = RECIPE.fit(build(folder, {"regularisation": 1.0, "steps": 20}, say=said.append))
    assert result.dataset.kind == "jsonl-and-documents"
    assert any("broken.pdf" in line for line in said)
    assert result.metrics["held_out_questions"] == 12


def test_a_validation_set_is_what_is_held_out(build, pairs, write, tmp_path):
    data = write(tmp_path / "pairs.jsonl", pairs[:36])
    validation = write(tmp_path / "validation.jsonl", pairs[36:])
    settings = {"regularisation": 0.1, "steps": 20}
    result = RECIPE.fit(build(data, settings, validation=validation))
    assert result.metrics["held_out_questions"] == 12
    leak = write(tmp_path / "leak.jsonl", pairs[30:])
    with pytest.raises(InvalidRequest, match="also in the training set") as raised:
        RECIPE.fit(build(data, settings, validation=leak))
    assert raised.value.code == "split_leakage"


def test_a_cancelled_fit_stops(build, pairs, write, tmp_path):
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 200:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        RECIPE.fit(build(write(tmp_path / "pairs.jsonl", pairs), check=check))


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"ranks": 3}, "hyperparameters.ranks"),
        ({"rank": 0}, "hyperparameters.rank"),
        ({"temperature": "hot"}, "hyperparameters.temperature"),
        ({"folds": 1}, "hyperparameters.folds"),
    ],
    ids=lambda value: str(value),
)
def test_a_hyperparameter_is_refused_by_name(build, pairs, write, tmp_path, settings, param):
    with pytest.raises(InvalidRequest) as raised:
        RECIPE.fit(build(write(tmp_path / "pairs.jsonl", pairs), settings))
    assert raised.value.param == param


def test_it_is_a_tuning_recipe():
    assert isinstance(RECIPE, TuningRecipe)
    assert set(RECIPE.methods) == {"pairs", "documents", "supervised"}
