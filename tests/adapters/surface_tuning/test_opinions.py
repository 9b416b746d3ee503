"""Where pooled taps tell little, the picture's own numbers are asked too, and kept if they help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xingyue.contract import FitContext, FitResult
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_tuning import discriminant_fit, kernel_fit, stacking

Build = Callable[..., FitContext]
Rows = NDArray[np.float32]
RECIPE = SurfaceInspectionRecipe()
SMALL = {"side": 128, "views": 1, "folds": 2}
EVEN = np.ones(300)


def crops(folder: Path, count: int) -> Path:
    """Tiny crops. Rough ones are odd where large, smooth ones where small: on the canvas, which all
    of them fill, that is hard to see, and no weighted sum of size and grain tells it."""
    for number in range(count):
        random = np.random.default_rng(number)
        rough, large = bool(number % 2), bool(number // 2 % 2)
        side = int(random.integers(20, 25) if large else random.integers(10, 13))
        grey = random.normal(random.uniform(100, 150), 13 if rough else 9, (side, side))
        label = "odd" if rough == large else "even"
        (folder / label).mkdir(parents=True, exist_ok=True)
        name = f"{label}-{chr(97 + number // 26)}{chr(97 + number % 26)}.png"
        cv2.imwrite(str(folder / label / name), np.clip(grey, 0, 255).astype(np.uint8))
    return folder


def read(result: FitResult) -> tuple[dict[str, Any], dict[str, Any]]:
    """The head's manifest, and what its report says was chosen."""
    report = json.loads((result.report / "report.json").read_text())
    return json.loads((result.head / "manifest.json").read_text()), report["choices"]


@pytest.mark.weights
def test_known_pictures_are_asked_where_no_sum_of_numbers_tells(
    build: Build, tmp_path: Path
) -> None:
    data = crops(tmp_path / "crops", 120)
    first, second = (RECIPE.fit(build(data, "classification", SMALL)) for _ in range(2))
    manifest, choices = read(first)
    assert manifest["kind"] in ("kernel-classes", "joint-classes")
    assert first.metrics["accuracy"] > 0.8
    assert first.parity <= first.parity_max
    assert choices["kernel"]["share"] > 0
    assert choices["kernel"]["share_of_others"] > 0
    for name in ("manifest.json", "head.safetensors"):
        assert (first.head / name).read_bytes() == (second.head / name).read_bytes()


@pytest.mark.weights
def test_discriminants_are_asked_where_the_canvas_hides_the_grain(
    build: Build, tmp_path: Path
) -> None:
    """Three grains, on crops of any size: blown up to one, a fine grain is as coarse as another."""
    for number in range(120):
        random = np.random.default_rng(number)
        side, label = int(random.integers(10, 30)), ("fine", "mixed", "rough")[number % 3]
        grey = random.normal(random.uniform(90, 160), (9, 11, 13.5)[number % 3], (side, side))
        (tmp_path / "grains" / label).mkdir(parents=True, exist_ok=True)
        name = f"{label}-{chr(97 + number // 26)}{chr(97 + number % 26)}.png"
        cv2.imwrite(str(tmp_path / "grains" / label / name), np.clip(grey, 0, 255).astype(np.uint8))
    first, second = (
        RECIPE.fit(build(tmp_path / "grains", "classification", SMALL)) for _ in range(2)
    )
    manifest, choices = read(first)
    assert "discriminant" in manifest["parts"]
    assert choices["discriminant"]["share"] > 0
    assert {"shrinkage": choices["discriminant"]["shrinkage"]} in discriminant_fit.TRIED
    assert first.metrics["accuracy"] > 0.6
    assert first.parity <= first.parity_max
    for name in ("manifest.json", "head.safetensors"):
        assert (first.head / name).read_bytes() == (second.head / name).read_bytes()


def rows(count: int, noise: float) -> tuple[Rows, NDArray[np.intp]]:
    """``(N, 1, 6)``, and whether the first two numbers have one sign."""
    random = np.random.default_rng(2)
    drawn = random.normal(0, 1, (count, 1, 6)).astype(np.float32)
    truth = (drawn[:, 0, 0] * drawn[:, 0, 1] + random.normal(0, noise, count) > 0).astype(np.intp)
    return drawn, truth


def told(truth: NDArray[np.intp], sure: float) -> stacking.Logits:
    return np.asarray(sure * np.stack([1 - truth, truth], axis=1), np.float64)


def test_another_model_counts_by_what_it_tells_out_of_fold() -> None:
    truth = rows(300, 0.1)[1]
    nothing, right, wrong = np.zeros((300, 2)), told(truth, 6), told(1 - truth, 6)
    found = stacking.best(nothing, [wrong, right], truth, EVEN)
    assert found is not None
    assert found[0] == 1
    assert found[1].own > 0
    assert (found[1].logits.argmax(axis=1) == truth).all()
    assert stacking.best(right, [right, wrong], truth, EVEN) is None
    guessed = told(np.random.default_rng(0).permutation(truth), 1)
    assert stacking.best(nothing, [guessed], truth, EVEN) is None


def test_more_images_than_it_remembers_are_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_fit, "KNOWN_MAX", 100)
    drawn, truth = rows(600, 0.05)
    model = kernel_fit.fit(drawn[:500], truth[:500], 1.0, 30.0, 7)
    assert model.known.shape == (100, 6)
    said = model.of_numbers(drawn[500:, 0]).argmax(axis=1)
    assert (said == truth[500:]).mean() > 0.85


@pytest.mark.parametrize("classes", [2, 3])
def test_discriminants_carry_on_beyond_what_they_have_seen(classes: int) -> None:
    random = np.random.default_rng(4)
    truth = np.arange(300) % classes
    drawn = random.normal(0, 1, (300, 2, 5)).astype(np.float32)
    drawn[..., 0] += 3 * truth[:, None]
    drawn[..., 4] = 7.0
    model = discriminant_fit.fit(drawn, truth, 0.1)
    assert (model.of_views(drawn).argmax(axis=1) == truth).mean() > 0.85
    far = np.array([[[-30, 0, 0, 0, 7]], [[30 * classes, 0, 0, 0, 7]]], np.float32)
    assert model.of_views(far).argmax(axis=1).tolist() == [0, classes - 1]
