"""Which images are fitted on and which measured on, where the sender's folders make it awkward."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xingyue.contract import FitContext
from xingyue.errors import InvalidRequest
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_tuning import one_class
from xingyue_adapters.surface_tuning.classify import fit

Build = Callable[..., FitContext]
RECIPE = SurfaceInspectionRecipe()
QUICK_ONE_CLASS = {"side": 128, "bank": 64, "folds": 2, "detector": "memory-bank"}
QUICK = {"side": 128, "views": 1, "folds": 2}


def benchmark_layout(source: Path, folder: Path) -> Path:
    """``train/good`` and ``test/<kind>``, as MVTec AD and its like come."""
    for kind in ("good", "scratch", "spot"):
        for number, path in enumerate(sorted((source / kind).glob("*.png"))):
            side = "train" if kind == "good" and number % 3 else "test"
            (folder / side / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / side / kind / path.name)
    return folder


@pytest.mark.weights
def test_classes_that_only_the_test_folder_has_are_divided_anew(
    build: Build, parts: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    data = benchmark_layout(parts, tmp_path / "set")
    result = RECIPE.fit(build(data, "classification", QUICK, say=said.append))
    assert result.metrics["accuracy"] > 0.6
    assert any("has no scratch, spot" in line for line in said)


@pytest.mark.weights
def test_one_class_takes_the_folders_as_they_are(build: Build, parts: Path, tmp_path: Path) -> None:
    data = benchmark_layout(parts, tmp_path / "set")
    result = RECIPE.fit(build(data, "one-class", QUICK_ONE_CLASS))
    assert result.metrics["auroc"] > 0.6


@pytest.mark.weights
def test_one_class_is_measured_on_defects_of_a_validation_set(
    build: Build, parts: Path, tmp_path: Path
) -> None:
    sides = benchmark_layout(parts, tmp_path / "set")
    context = build(sides / "train", "one-class", QUICK_ONE_CLASS, validation=sides / "test")
    result = RECIPE.fit(context)
    assert "auroc" in result.metrics


@pytest.mark.weights
def test_good_parts_of_one_lot_still_pass(build: Build, parts: Path, tmp_path: Path) -> None:
    data = tmp_path / "lots"
    rows = []
    for kind in ("good", "scratch"):
        for number, path in enumerate(sorted((parts / kind).glob("*.png"))):
            (data / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, data / kind / path.name)
            lot = f"{'AB'[number % 2]}" if kind == "good" else f"{number % 3}"
            rows.append((f"{kind}/{path.name}", kind, lot))
    with (data / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label", "group"), *rows])
    said: list[str] = []
    result = RECIPE.fit(build(data, "one-class", QUICK_ONE_CLASS, say=said.append))
    assert result.metrics["overkill_rate"] < 1.0
    assert any("all of one group" in line for line in said)


@pytest.mark.weights
def test_more_images_than_memory_holds_are_refused(
    build: Build, parts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_class, "PATCH_BYTES_MAX", 1 << 16)
    with pytest.raises(InvalidRequest, match="fewer good images") as refused:
        RECIPE.fit(build(parts, "one-class", QUICK_ONE_CLASS))
    assert refused.value.code == "too_many_images"


def test_more_rows_than_features_give_the_same_fit() -> None:
    random = np.random.default_rng(4)
    rows = random.normal(0, 1, (60, 1, 6)).astype(np.float32)
    truth = (rows[:, 0, 0] > 0).astype(np.intp)
    many = fit(rows, truth, ("good", "bad"), 0.1)
    wide = fit(np.pad(rows, ((0, 0), (0, 0), (0, 90))), truth, ("good", "bad"), 0.1)
    np.testing.assert_allclose(many.weight, wide.weight[:, :6], atol=1e-3)
