"""Two tenants' chats become two variants of one served model; what does not fit is refused."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.spec import TrunkSpec
from xingyue.contract import EvalContext, FitResult, HeadFiles, HeadRef, WorkItem, WorkResult
from xingyue.errors import Cancelled, InvalidRequest
from xingyue.finetune.results import check_parity
from xingyue.serving.engine import Engine
from xingyue_adapters.language_tuning.recipe import LanguageModelRecipe

QUICK = {"n_epochs": 3, "layers": 4, "batch_size": 2, "answers": 2, "learning_rate_multiplier": 2.0}


@pytest.fixture(scope="module")
def fitted(
    chats: Any, write_lines: Any, fit: Any, model_file: Path, tmp_path_factory: Any
) -> dict[str, FitResult]:
    made = {}
    for rule in ("dash", "bracket"):
        folder = tmp_path_factory.mktemp(rule)
        data = write_lines(folder / "chats.jsonl", chats(rule, 24))
        made[rule] = fit(data, folder, model_file, **QUICK)
    return made


@pytest.fixture(scope="module")
def served(fitted: dict[str, FitResult], model_file: Path, tmp_path_factory: Any) -> Any:
    """One engine, as a replica holds it, and a reference to each variant's head."""
    spec = TrunkSpec(
        family="language-model",
        weights={"trunk": "qwen"},
        dtype="gguf",
        options={"context_tokens": 512, "slots": 2, "cache_mib": 16},
    )
    source = HeadSource(tmp_path_factory.mktemp("heads"))
    engine = Engine(spec, lambda name: model_file, source)
    refs: dict[str, HeadRef | None] = {"base": None}
    for rule, result in fitted.items():
        digest = hashlib.sha256((result.head / "manifest.json").read_bytes()).hexdigest()
        refs[rule] = HeadRef(f"demo.{rule}", "1", digest, result.head.as_uri())
    yield engine, refs
    engine.close()


def ask(ref: HeadRef | None, product: str, number: int) -> WorkItem:
    words = f"How is lot {number} of {product} named?"
    messages = [
        {"role": "system", "content": "Name lots by the house rule."},
        {"role": "user", "content": words},
    ]
    params = {"messages": messages, "max_tokens": 24, "temperature": 0.0}
    return WorkItem("chat", ref, {}, params)


@pytest.mark.weights
@pytest.mark.timeout(900)
def test_base_and_two_variants_answer_from_one_trunk(served: Any) -> None:
    engine, refs = served
    order = ["dash", "base", "bracket", "dash", "bracket", "base"]
    lots = [("morphine", 5), ("insulin", 64)]
    said: dict[str, list[str]] = {name: [] for name in refs}
    for product, number in lots:
        outcomes, _ = engine.infer([ask(refs[name], product, number) for name in order])
        for name, outcome in zip(order, outcomes, strict=True):
            assert isinstance(outcome, WorkResult), outcome
            assert outcome.units > 0
            said[name].append(outcome.value["content"])
    assert all(text.startswith("LOT-") for text in said["dash"]), said
    assert all(text.startswith("[") and "QA only!" in text for text in said["bracket"]), said
    assert not any(text.startswith(("LOT-", "[")) for text in said["base"]), said
    # The same question to the same model: the same answer, whoever was asked in between.
    for name, texts in said.items():
        assert texts[0::2] == texts[1::2], name


@pytest.mark.weights
@pytest.mark.timeout(900)
def test_the_report_says_what_the_fit_is_worth(fitted: dict[str, FitResult]) -> None:
    for result in fitted.values():
        assert result.metrics["loss"] < result.metrics["base_loss"] / 2
        assert result.metrics["f1"] > result.metrics["base_f1"]
        check_parity(result.parity, result.parity_max)
        names = {path.name for path in result.report.iterdir()}
        assert names == {"report.json", "loss.png", "worst.png"}
        report = json.loads((result.report / "report.json").read_text())
        assert report["split"]["fitted_on"]["chats"] + report["split"]["held_out"]["chats"] == 24
        # The gate can tell: without the adapter the served model is nowhere near.
        made = report["parity"]["mean_difference_made_by_the_adapter"]
        assert made > 2 * result.parity_max
        manifest = json.loads((result.head / "manifest.json").read_text())
        assert set(manifest["files"]) == {
            "adapter_model.safetensors", "adapter_config.json", "adapter.gguf",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("method", "given", "param"),
    [
        pytest.param("qlora", {}, "method.type", id="method"),
        pytest.param("lora", {"epochs": 3}, "hyperparameters.epochs", id="unknown"),
        pytest.param("lora", {"rank": 65}, "hyperparameters.rank", id="bound"),
        pytest.param("lora", {"targets": "some"}, "hyperparameters.targets", id="choice"),
    ],
)
def test_what_is_not_offered_is_refused_before_the_data_is_read(
    fit: Any, tmp_path: Path, method: str, given: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        fit(tmp_path / "none.jsonl", tmp_path / "f", tmp_path, {"method": method}, **given)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("name", "value"),
    [
        pytest.param("rank", 4, id="rank"),
        pytest.param("alpha", 8.0, id="alpha"),
        pytest.param("layers", 3, id="layers"),
        pytest.param("targets", "attention", id="targets"),
    ],
)
def test_a_variant_to_go_on_from_keeps_its_shape(
    fit: Any, tmp_path: Path, name: str, value: Any
) -> None:
    had = {"rank": 8, "alpha": 16.0, "layers": 6, "targets": "all"}
    base = HeadFiles(tmp_path, {"recipe": {"hyperparameters": had}})
    with pytest.raises(InvalidRequest) as refused:
        fit(tmp_path / "none", tmp_path / "f", tmp_path, {"base": base}, **{name: value})
    assert refused.value.param == f"hyperparameters.{name}"
    assert f"was fitted with {name} {had[name]!r}" in refused.value.message


def one_group(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**line, "group": "one"} for line in lines]


@pytest.mark.parametrize(
    ("count", "spoil", "code", "words"),
    [
        pytest.param(12, list, "too_few_samples", "has 12; add 8", id="few"),
        pytest.param(24, one_group, "too_few_groups", "one group", id="one-group"),
        pytest.param(
            24, lambda lines: [*lines[:20], "{", *lines[21:]], None, None, id="one-broken-line"
        ),
        pytest.param(
            24, lambda lines: ["{", "[]", '{"messages": []}', *lines], "unreadable_line",
            "chats.jsonl:1 is not JSON", id="many-broken",
        ),
    ],
)  # fmt: skip
def test_lines_are_judged_in_words(
    chats: Any, write_lines: Any, tmp_path: Path, count: int, spoil: Callable[..., list[Any]],
    code: str | None, words: str | None, fit: Any,
) -> None:  # fmt: skip
    data = write_lines(tmp_path / "chats.jsonl", spoil(chats("dash", count)))
    if code is None:
        report = LanguageModelRecipe().validate(data, "supervised", tmp_path)
        assert [note.code for note in report.notes] == ["unreadable_line"]
        assert "chats.jsonl:21" in report.notes[0].message
        return
    with pytest.raises(InvalidRequest) as refused:
        fit(data, tmp_path / "fit", tmp_path)
    assert refused.value.code == code
    assert words is not None
    assert words in refused.value.message


@pytest.mark.weights
def test_too_long_chats_are_named(
    chats: Any, write_lines: Any, fit: Any, model_file: Path, tmp_path: Path
) -> None:
    lines = chats("dash", 20)
    lines[6]["messages"][1]["content"] += " word" * 90
    data = write_lines(tmp_path / "chats.jsonl", lines)
    with pytest.raises(InvalidRequest) as refused:
        fit(data, tmp_path / "fit", model_file, tokens_max=96)
    assert refused.value.code == "too_long"
    assert "chats.jsonl:7 (1" in refused.value.message
    assert "chats.jsonl:6" not in refused.value.message


@pytest.mark.weights
def test_a_cancelled_fit_stops_between_two_layers(
    chats: Any, write_lines: Any, fit: Any, model_file: Path, tmp_path: Path
) -> None:
    stages: list[str] = []

    def check() -> None:
        if "reading" in stages:
            raise Cancelled("stop")

    data = write_lines(tmp_path / "chats.jsonl", chats("dash", 20))
    context = {"check": check, "progress": lambda stage, done, total: stages.append(stage)}
    with pytest.raises(Cancelled):
        fit(data, tmp_path / "fit", model_file, context, answers=1)
    assert "training" not in stages


def test_an_entry_is_judged_on_chats(chats: Any, write_lines: Any, tmp_path: Path) -> None:
    data = write_lines(tmp_path / "chats.jsonl", chats("dash", 4))

    def parrot(items: Any) -> list[Any]:
        return [WorkResult({"content": "LOT-IBU-011, two signatures."}, 1) for _ in items]

    (table,) = LanguageModelRecipe().evaluate(EvalContext({"demo.dash": parrot}, {}, data))
    assert table.metrics["exact_match"] == 0.25
    assert 0.25 < table.metrics["f1"] < 1


def test_asking_what_is_offered_imports_nothing_heavy() -> None:
    code = (
        "import sys; from xingyue_adapters.language_tuning.recipe import LanguageModelRecipe as R; "
        "print(*{'torch', 'transformers', 'peft', 'gguf', 'matplotlib'} & set(sys.modules), "
        "*R.methods)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.strip()) == (0, "lora supervised"), done.stderr
