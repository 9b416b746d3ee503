"""Heads fitted on made parts through the recipe, and answered by the serving family."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from xingyue.contract import FitContext, FitResult, HeadFiles, RuntimeSpec, TuningRecipe, WorkItem
from xingyue.errors import Cancelled, InvalidRequest
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_models.surface_inspection.family import SurfaceInspection

Build = Callable[..., FitContext]
Write = Callable[..., Path]
RECIPE = SurfaceInspectionRecipe()
SMALL = {"side": 128, "views": 2, "folds": 2}
pytestmark = pytest.mark.weights


def answers(context: FitContext, result: FitResult, paths: list[Path]) -> list[dict[str, Any]]:
    trunk = SurfaceInspection().load_trunk(context.weights, RuntimeSpec())
    manifest = json.loads((result.head / "manifest.json").read_text())
    head = trunk.load_head(HeadFiles(result.head, manifest))
    items = [WorkItem("inspect", None, {"image": path.read_bytes()}) for path in paths]
    return [o.value for o in trunk.infer(items, [head] * len(items))]  # type: ignore[union-attr]


def read_report(result: FitResult) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((result.report / "report.json").read_text())
    return found


def check_whole(result: FitResult, *pictures: str) -> None:
    """What every fit must leave: a head, a report that agrees with it, pictures that open."""
    manifest = json.loads((result.head / "manifest.json").read_text())
    assert manifest["trunk"]["sha256"]
    assert manifest["dataset"]["digest"] == result.dataset.digest
    assert manifest["metrics"] == dict(result.metrics)
    assert set(manifest["files"]) == {p.name for p in result.head.iterdir()} - {"manifest.json"}
    assert result.parity <= result.parity_max == 0.01
    report = read_report(result)
    assert report["metrics"] == dict(result.metrics)
    assert report["threshold"] == manifest["threshold"]
    assert (
        sum(map(sum, report["confusion"]["rows_truth_columns_said"]))
        == (report["split"]["held_out"]["images"])
    )
    for name in pictures:
        Image.open(result.report / name).verify()


def test_it_is_of_the_contract() -> None:
    assert isinstance(RECIPE, TuningRecipe)
    assert set(RECIPE.methods) == {"one-class", "classification", "segmentation", "supervised"}


def test_classification(parts: Path, build: Build, write_set: Write) -> None:
    seen: list[tuple[str, int, int]] = []
    context = build(parts, "classification", SMALL, progress=lambda *step: seen.append(step))
    result = RECIPE.fit(context)
    check_whole(result, "pr_curve.png", "confusion.png", "worst.png", "heatmaps.png")
    assert result.metrics["auroc"] > 0.9
    assert result.metrics["accuracy"] > 0.8
    assert {stage for stage, *_ in seen} >= {"reading", "features", "cross-validation", "report"}
    assert all(0 <= done <= total for _, done, total in seen)
    new = write_set(context.scratch / "new", {"good": 41, "spot": 41})
    good, spot = (sorted((new / kind).iterdir())[40] for kind in ("good", "spot"))
    passed, failed = answers(context, result, [good, spot])
    assert (passed["verdict"], passed["defects"]) == ("pass", [])
    assert failed["verdict"] == "fail"
    assert failed["classes"][0]["label"] == failed["defects"][0]["label"] == "spot"
    assert failed["defects"][0]["box"] == [0, 0, 128, 128]
    assert sum(c["score"] for c in failed["classes"]) == pytest.approx(1, abs=1e-3)


def test_a_fit_is_deterministic(parts: Path, build: Build) -> None:
    first, second = (RECIPE.fit(build(parts, "classification", SMALL)) for _ in range(2))
    names = sorted(path.name for path in first.head.iterdir())
    assert [(first.head / n).read_bytes() for n in names] == [
        (second.head / n).read_bytes() for n in names
    ]


def test_classes_without_good_always_fail(build: Build, tmp_path: Path, write_set: Write) -> None:
    data = write_set(tmp_path / "defects", {"scratch": 12, "spot": 12})
    context = build(data, "classification", SMALL)
    result = RECIPE.fit(context)
    check_whole(result, "confusion.png")
    assert "auroc" not in result.metrics
    (found,) = answers(context, result, [next((data / "spot").iterdir())])
    assert (found["verdict"], found["threshold"]) == ("fail", 0.0)
    assert found["score"] == found["classes"][0]["score"] > 0.5


@pytest.mark.parametrize("detector", ["joint", "memory-bank", "gaussian"])
def test_one_class_needs_good_parts_only(
    build: Build, tmp_path: Path, detector: str, write_set: Write
) -> None:
    data = write_set(tmp_path / "data", {"good": 24})
    settings = {"side": 128, "bank": 256, "detector": detector, "folds": 3}
    context = build(data, "one-class", settings)
    result = RECIPE.fit(context)
    check_whole(result, "confusion.png", "worst.png", "heatmaps.png")
    assert result.metrics["overkill_rate"] <= 0.5
    assert "auroc" not in result.metrics
    new = write_set(context.scratch / "new", {"good": 36, "spot": 12})
    good, spots = sorted((new / "good").iterdir())[24:], sorted((new / "spot").iterdir())
    passed = answers(context, result, good)
    failed = answers(context, result, spots)
    assert sum(found["verdict"] == "pass" for found in passed) >= 8
    assert sum(found["verdict"] == "fail" for found in failed) >= 8
    boxed = next(found for found in failed if found["verdict"] == "fail")
    assert boxed["defects"][0]["label"] == "anomaly"
    assert boxed["defects"][0]["box"] != [0, 0, 128, 128]


def test_one_class_weighs_its_threshold_by_defects(parts: Path, build: Build) -> None:
    settings = {"side": 128, "bank": 256, "detector": "memory-bank"}
    result = RECIPE.fit(build(parts, "one-class", settings))
    check_whole(result, "pr_curve.png")
    assert result.metrics["auroc"] > 0.75
    assert "escape_cost" in read_report(result)["choices"]["threshold_by"]


def test_segmentation_finds_and_names_defects(parts: Path, build: Build, write_set: Write) -> None:
    context = build(parts, "supervised", {"side": 160, "views": 2, "steps": 200, "folds": 2})
    result = RECIPE.fit(context)
    check_whole(result, "pr_curve.png", "worst.png")
    assert read_report(result)["head"]["kind"] == "linear-segmentation"
    assert result.metrics["auroc"] > 0.9
    new = write_set(context.scratch / "new", {"spot": 30})
    found = answers(context, result, sorted((new / "spot").iterdir())[20:])
    named = [f["defects"][0]["label"] for f in found if f["defects"]]
    assert named.count("spot") >= 7


def test_supervised_without_outlines_tells_classes(
    build: Build, tmp_path: Path, write_set: Write
) -> None:
    data = write_set(tmp_path / "data", {"good": 12, "spot": 12})
    result = RECIPE.fit(build(data, "supervised", SMALL))
    assert read_report(result)["head"]["kind"] == "linear-classes"


@pytest.mark.parametrize(
    ("method", "settings", "param"),
    [
        ("classification", {"learning_rate": 1}, "hyperparameters.learning_rate"),
        ("classification", {"side": 230}, "hyperparameters.side"),
        ("classification", {"held_out": 0.9}, "hyperparameters.held_out"),
        ("classification", {"views": True}, "hyperparameters.views"),
        ("classification", {"folds": 10**400}, "hyperparameters.folds"),
        ("classification", {"folds": 2.5}, "hyperparameters.folds"),
        ("classification", {"refit": "yes"}, "hyperparameters.refit"),
        ("one-class", {"bank": 10}, "hyperparameters.bank"),
        ("one-class", {"escape_cost": float("nan")}, "hyperparameters.escape_cost"),
        ("one-class", {"painted": 3000}, "hyperparameters.painted"),
        ("one-class", {"detector": "oracle"}, "hyperparameters.detector"),
        ("segmentation", {"hidden": 4096}, "hyperparameters.hidden"),
        ("supervised", {"hidden": 8, "bank": 64}, "hyperparameters.bank"),
        ("regression", {}, "method.type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not_fit_is_refused_by_name(
    parts: Path, build: Build, method: str, settings: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        RECIPE.fit(build(parts, method, settings))
    assert refused.value.param == param


def test_too_few_images_are_refused_in_words(
    build: Build, tmp_path: Path, write_set: Write
) -> None:
    data = write_set(tmp_path / "data", {"good": 20, "spot": 3})
    with pytest.raises(InvalidRequest, match="spot") as refused:
        RECIPE.fit(build(data, "classification"))
    assert refused.value.code == "too_few_samples"
    notes = RECIPE.validate(data, "classification", tmp_path / "scratch").errors
    assert refused.value.message == notes[0].message


def test_a_cancelled_fit_stops(parts: Path, build: Build) -> None:
    calls = 0

    def check() -> None:
        nonlocal calls
        calls += 1
        if calls > 60:
            raise Cancelled("the owner has asked to stop")

    context = build(parts, "classification", SMALL, check=check)
    with pytest.raises(Cancelled):
        RECIPE.fit(context)
    assert not (context.out / "head").exists()


def test_the_sender_s_validation_set_is_the_one_measured(
    build: Build, parts: Path, tmp_path: Path, write_set: Write
) -> None:
    new = write_set(tmp_path / "all", {"good": 30, "spot": 30, "scratch": 30})
    for kind in ("good", "spot", "scratch"):
        for path in sorted((new / kind).iterdir())[:20]:
            path.unlink()
    result = RECIPE.fit(build(parts, "classification", SMALL, validation=new))
    assert result.metrics["held_out_images"] == 30
