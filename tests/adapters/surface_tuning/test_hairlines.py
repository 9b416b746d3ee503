"""Where cracks are few and thin, lines painted over good parts tell more than the cracks do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xingyue.contract import FitContext
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_tuning import hairline_fit
from xingyue_adapters.surface_tuning.hyperparameters import Classification, Segmentation
from xingyue_adapters.surface_tuning.opinions import Case
from xingyue_adapters.surface_tuning.painting import KINDS, paint
from xingyue_models.surface_inspection.geometry import Geometry

Build = Callable[..., FitContext]
RECIPE = SurfaceInspectionRecipe()


def cells(folder: Path, good: int, cracked: int) -> Path:
    """Parts with a coarse grain, a dark bar and specks; every other one is brighter. Of a crack
    there is little to see, and there are few."""
    for number in range(good + cracked):
        random = np.random.default_rng(number)
        grain = cv2.GaussianBlur(random.normal(0, 1, (128, 128)), (0, 0), 6) * 72
        grey = 110 + 30 * (number % 2) + grain + random.normal(0, 4, (128, 128))
        grey[40:43] *= 0.7
        for _ in range(15):
            x, y = random.integers(5, 120, 2)
            height, width = random.integers(2, 5), random.integers(2, 9)
            grey[y : y + height, x : x + width] *= 0.6
        label = "crack" if number >= good else "good"
        if label == "crack":
            angle, middle = random.uniform(0, np.pi), random.uniform(40, 88, 2)
            along = np.array([np.cos(angle), np.sin(angle)]) * random.uniform(15, 30)
            ends = [(middle + sign * along).astype(int).tolist() for sign in (-1, 1)]
            line = np.zeros((128, 128), np.float32)
            cv2.line(line, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
            grey *= 1 - 0.2 * line
        (folder / label).mkdir(parents=True, exist_ok=True)
        name = f"{label}-{chr(97 + number // 26)}{chr(97 + number % 26)}.png"
        cv2.imwrite(str(folder / label / name), np.clip(grey, 0, 255).astype(np.uint8))
    return folder


@pytest.mark.weights
def test_it_is_kept_where_it_helps(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hairline_fit, "DRAWINGS", 2)  # for time
    monkeypatch.setattr(hairline_fit, "SETTINGS", Segmentation(hidden=64, steps=200))
    data = cells(tmp_path / "cells", 60, 24)
    settings = {"side": 128, "views": 1, "folds": 2}
    first, second = (RECIPE.fit(build(data, "classification", settings)) for _ in range(2))
    manifest = json.loads((first.head / "manifest.json").read_text())
    assert manifest["kind"] == "joint-classes"
    assert "hairlines" in manifest["parts"]
    assert first.metrics["auroc"] > 0.8
    assert first.parity <= first.parity_max
    choices = json.loads((first.report / "report.json").read_text())["choices"]
    assert choices["hairlines"]["share"] > 0
    for name in ("manifest.json", "head.safetensors"):
        assert (first.head / name).read_bytes() == (second.head / name).read_bytes()


def case_of(truth: NDArray[np.intp], classes: int) -> Case:
    """Of images fitted on in two folds; nothing of them is read."""
    count = len(truth)
    halves = [np.flatnonzero(np.arange(count) % 2 == side) for side in (0, 1)]
    task: Any = SimpleNamespace(
        fitted=[None] * count, held=[], ticker=lambda stage: lambda done, total: None
    )
    settings, geometry = Classification(), Geometry(224)
    names = tuple("abcde"[:classes])
    return Case(
        task, settings, geometry, names, truth, [(halves[0], halves[1]), (halves[1], halves[0])]
    )


def believed(truth: NDArray[np.intp], classes: int, apart: float, seed: int) -> NDArray[np.float64]:
    """Logits that are right about as often as they say, the more so the farther ``apart``."""
    random = np.random.default_rng(seed)
    seen = random.normal(0, 1, (len(truth), classes)) + apart * np.eye(classes)[truth]
    return np.asarray(apart * seen)


def right(logits: NDArray[np.float64], truth: NDArray[np.intp]) -> float:
    return float((logits.argmax(axis=1) == truth).mean())


@pytest.mark.parametrize("count", [24, 200])
def test_evidence_that_tells_as_much_as_all_others_leads(count: int) -> None:
    truth, random = np.arange(count) // 2 % 2, np.random.default_rng(2)
    case, others = case_of(truth, 2), believed(truth, 2, 1.5, 1)
    clear = hairline_fit.choose(case, others, 4.0 * truth + random.normal(0, 0.5, count))
    assert clear is not None
    assert clear.own > clear.others > 0
    assert right(clear.logits, truth) > right(others, truth)


@pytest.mark.parametrize("classes", [2, 4])
def test_evidence_that_tells_nothing_changes_nothing(classes: int) -> None:
    truth, random = np.arange(200) // 2 % classes, np.random.default_rng(2)
    others = believed(truth, classes, 1.5, 1)
    assert hairline_fit.choose(case_of(truth, classes), others, random.normal(0, 1, 200)) is None


def test_of_several_defects_it_tells_none_from_another() -> None:
    truth, random = np.arange(200) // 2 % 4, np.random.default_rng(2)
    case, others = case_of(truth, 4), believed(truth, 4, 3, 1)
    found = hairline_fit.choose(case, others, 4.0 * (truth > 0) + random.normal(0, 2, 200))
    assert found is None or right(found.logits, truth) >= right(others, truth) - 0.02


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_painted_is_told_apart_from_what_is_not(kind: str) -> None:
    grain = np.random.default_rng(1).uniform(60, 180, (96, 160, 3)).astype(np.float32)
    touched = 0
    for seed in range(20):
        painted = paint(grain, kind, np.random.default_rng(seed))
        again = paint(grain, kind, np.random.default_rng(seed))
        assert painted.canvas.shape == grain.shape
        assert painted.changed.shape == grain.shape[:2]
        assert painted.canvas.min() >= 0
        assert painted.canvas.max() <= 255
        assert (painted.canvas == again.canvas).all()
        same = painted.changed == 0
        assert (painted.canvas[same] == grain[same]).all()
        touched += int((painted.changed > 0.03).any())
    assert touched >= 15
