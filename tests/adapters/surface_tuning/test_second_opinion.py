"""Where pooled taps tell little, the picture's own numbers are asked too, and kept if they help."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from xingyue.contract import FitContext, FitResult
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_tuning import kernel_fit

Build = Callable[..., FitContext]
RECIPE = SurfaceInspectionRecipe()
SMALL = {"side": 128, "views": 1, "folds": 2}


def crops(folder: Path, count: int) -> Path:
    """Tiny crops. Rough ones are defective where large, smooth ones where small: on the canvas,
    which all of them fill, that is hard to see, and no weighted sum of size and grain tells it."""
    for number in range(count):
        random = np.random.default_rng(number)
        rough, large = number % 2, number // 2 % 2
        side = int(random.integers(20, 25) if large else random.integers(10, 13))
        grey = random.normal(random.uniform(100, 150), 13 if rough else 9, (side, side))
        label = "defect" if rough == large else "good"
        (folder / label).mkdir(parents=True, exist_ok=True)
        name = f"{label}-{chr(97 + number // 26)}{chr(97 + number % 26)}.png"
        cv2.imwrite(str(folder / label / name), np.clip(grey, 0, 255).astype(np.uint8))
    return folder


def kind_of(result: FitResult) -> str:
    return str(json.loads((result.head / "manifest.json").read_text())["kind"])


@pytest.mark.weights
def test_it_is_kept_where_it_helps(build: Build, tmp_path: Path) -> None:
    data = crops(tmp_path / "crops", 120)
    first, second = (RECIPE.fit(build(data, "classification", SMALL)) for _ in range(2))
    assert kind_of(first) in ("kernel-classes", "joint-classes")
    assert first.metrics["accuracy"] > 0.8
    assert first.parity <= first.parity_max
    choices = json.loads((first.report / "report.json").read_text())["choices"]
    assert choices["kernel"]["share"] > 0
    assert choices["kernel"]["share_of_linear"] > 0
    for name in ("manifest.json", "head.safetensors"):
        assert (first.head / name).read_bytes() == (second.head / name).read_bytes()


def rows(count: int, noise: float) -> tuple[kernel_fit.Rows, np.ndarray]:
    """``(N, 1, 6)``, and whether the first two numbers have one sign."""
    random = np.random.default_rng(2)
    drawn = random.normal(0, 1, (count, 1, 6)).astype(np.float32)
    truth = (drawn[:, 0, 0] * drawn[:, 0, 1] + random.normal(0, noise, count) > 0).astype(np.intp)
    return drawn, truth


def choose(
    linear: np.ndarray, drawn: kernel_fit.Rows, truth: np.ndarray
) -> kernel_fit.Blend | None:
    half = np.arange(len(truth)) % 2 == 0
    parts = [(np.flatnonzero(half), np.flatnonzero(~half))]
    parts.append(parts[0][::-1])
    told = np.ones(len(truth), np.bool_)
    return kernel_fit.choose(drawn, truth, linear, told, parts, 7, lambda done, total: None)


def test_it_counts_by_what_it_tells_out_of_fold() -> None:
    drawn, truth = rows(300, 0.1)
    blind = choose(np.zeros((300, 2)), drawn, truth)
    assert blind is not None
    assert (blind.logits.argmax(axis=1) == truth).mean() > 0.8
    sure = 6.0 * np.stack([1 - truth, truth], axis=1)
    assert choose(sure, drawn, truth) is None
    assert choose(np.zeros((300, 2)), drawn, np.random.default_rng(0).permutation(truth)) is None


def test_more_images_than_it_remembers_are_fitted_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_fit, "KNOWN_MAX", 100)
    drawn, truth = rows(600, 0.05)
    model = kernel_fit.fit(drawn[:500], truth[:500], 2, 1.0, 30.0, 7)
    assert model.known.shape == (100, 6)
    said = model.of_numbers(drawn[500:, 0]).argmax(axis=1)
    assert (said == truth[500:]).mean() > 0.85
