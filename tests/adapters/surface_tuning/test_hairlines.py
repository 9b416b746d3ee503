"""Where cracks are few and thin, lines painted over good parts tell more than the cracks do."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from xingyue.contract import FitContext
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_tuning.painting import KINDS, paint

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
def test_it_is_kept_where_it_helps(build: Build, tmp_path: Path) -> None:
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
