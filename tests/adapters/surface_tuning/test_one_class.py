"""One-class heads: how their input is chosen, their score and threshold; on fine real defects."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from xingyue.contract import FitContext
from xingyue.errors import Cancelled
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.metrics import auroc
from xingyue_adapters.surface_inspection.recipe import SurfaceInspectionRecipe
from xingyue_adapters.surface_tuning.accuracy import SETS, measure
from xingyue_adapters.surface_tuning.distance_scale import calibrate, overkill_share
from xingyue_adapters.surface_tuning.export import serve
from xingyue_models.surface_inspection.patch_head import strongest_mean

Build = Callable[..., FitContext]
Write = Callable[..., Path]
DATA = Path(os.environ.get("XINGYUE_SHARED_DATA", "../shared/data"))
RECIPE = SurfaceInspectionRecipe()
QUICK = {"side": 128, "bank": 128, "folds": 2, "detector": "memory-bank"}
JOINT = QUICK | {"detector": "joint", "painted": 40, "steps": 100}


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 9.0), (2, 8.5), (4, 7.0), (99, 3.5)], ids=["1", "2", "4", "all"]
)
def test_the_strongest_cells_are_averaged(count: int, expected: float) -> None:
    distances = np.array([[9, 1, 8, 2], [5, 6, -2, -1]], np.float32)
    assert strongest_mean(distances, count) == pytest.approx(expected)


@pytest.mark.parametrize("cost", [1.0, 5.0, 20.0])
def test_a_threshold_without_defects_fails_the_share_asked_for(cost: float) -> None:
    random = np.random.default_rng(8)
    good, new = (np.exp(random.normal(1, 0.2, n)) for n in (200, 5000))
    scaled = calibrate(good, np.zeros(0), cost)
    failed = float((scaled.scale(new.astype(np.float32)) >= scaled.threshold).mean())
    assert failed == pytest.approx(overkill_share(cost), rel=0.35)


def test_the_dearer_an_escape_the_more_good_parts_are_given_for_it() -> None:
    shares = [overkill_share(cost) for cost in (0.1, 1.0, 5.0, 1000.0)]
    assert shares == sorted(shares)
    assert shares[1] == pytest.approx(0.05, abs=0.005)  # as dear as an overkill: half way
    assert shares[2] == pytest.approx(0.12, abs=0.01)
    assert 0.01 <= shares[0] < shares[3] == 0.2


@pytest.mark.weights
@pytest.mark.parametrize(
    ("gains", "asked", "stretched"),
    [
        ((1.0, 1.0), "auto", False),
        ((0.35, 1.3), "auto", True),
        ((0.35, 1.3), "as-is", False),
        ((1.0, 1.0), "stretched", True),
    ],
    ids=["lit-alike", "lit-differently", "told-not-to", "told-to"],
)
def test_grey_levels_are_stretched_where_parts_are_lit_differently(
    build: Build,
    tmp_path: Path,
    write_set: Write,
    gains: tuple[float, float],
    asked: str,
    stretched: bool,
) -> None:
    data = write_set(tmp_path / "data", {"good": 20})
    for number, path in enumerate(sorted((data / "good").iterdir())):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(np.float32)
        cv2.imwrite(str(path), np.clip(grey * gains[number % 2], 0, 255).astype(np.uint8))
    result = RECIPE.fit(build(data, "one-class", QUICK | {"exposure": asked}))
    manifest: dict[str, Any] = json.loads((result.head / "manifest.json").read_text())
    assert manifest["input"]["exposure"] is stretched
    assert manifest["recipe"]["choices"]["exposure"] == ("stretched" if stretched else "as-is")
    assert result.parity <= result.parity_max


@pytest.mark.weights
def test_a_large_part_is_looked_at_in_tiles(build: Build, tmp_path: Path, write_set: Write) -> None:
    data = write_set(tmp_path / "data", {"good": 12})
    for path in (data / "good").iterdir():
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        cv2.imwrite(str(path), cv2.resize(grey, (256, 240)))
    result = RECIPE.fit(build(data, "one-class", JOINT | {"patches": "wide"}))
    manifest = json.loads((result.head / "manifest.json").read_text())
    assert manifest["input"]["tiled"]
    assert manifest["features"]["taps"] == ["f8", "f16"]
    assert result.parity <= result.parity_max


@pytest.mark.weights
def test_cracks_a_pixel_wide_are_found_without_one_to_learn_from(
    build: Build, tmp_path: Path, write_set: Write
) -> None:
    data = write_set(tmp_path / "data", {"good": 64})
    good = sorted((data / "good").iterdir())[24:]
    samples = []
    (tmp_path / "new").mkdir()
    for number, path in enumerate(good):
        part, label = cv2.imread(str(path)).astype(np.float32), "good"
        if number % 2:
            label, line = "crack", np.zeros(part.shape[:2], np.float32)
            ends = np.random.default_rng(number).integers(10, 118, (2, 2)).tolist()
            cv2.line(line, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
            part *= 1 - 0.08 * line[..., None]
        moved = tmp_path / "new" / path.name
        cv2.imwrite(str(moved), part.astype(np.uint8))
        samples.append(ImageSample(moved, path.name, label, path.name))
        path.unlink()
    context = build(data, "one-class", JOINT | {"painted": 120, "steps": 250})
    result = RECIPE.fit(context)
    scores = [float(o.value["score"]) for o in serve(context, result.head, samples)]
    assert auroc([s.defective for s in samples], scores) >= 0.9


@pytest.mark.weights
def test_equal_seeds_give_equal_networks(build: Build, tmp_path: Path, write_set: Write) -> None:
    data = write_set(tmp_path / "data", {"good": 14})
    fits = [RECIPE.fit(build(data, "one-class", JOINT)) for _ in range(2)]
    first, again = ((f.head / "head.safetensors").read_bytes() for f in fits)
    assert first == again
    manifest = json.loads((fits[0].head / "manifest.json").read_text())
    assert manifest["kind"] == "memory-and-painted"
    assert manifest["features"]["taps"] == ["f4", "f8", "f16"]
    assert 20 <= manifest["recipe"]["choices"]["painted_windows"] <= 60
    assert fits[0].parity <= fits[0].parity_max


@pytest.mark.weights
def test_black_parts_are_painted_over_too(build: Build, tmp_path: Path, write_set: Write) -> None:
    data = write_set(tmp_path / "data", {"good": 12})
    for number, path in enumerate(sorted((data / "good").iterdir())):
        dark = np.random.default_rng(number).integers(0, 3, (128, 128)).astype(np.uint8)
        cv2.imwrite(str(path), dark)
    result = RECIPE.fit(build(data, "one-class", JOINT))
    assert result.parity <= result.parity_max


@pytest.mark.weights
@pytest.mark.parametrize("stage", ["painting", "network"])
def test_a_cancelled_fit_stops_while_it_paints_or_learns(
    build: Build, tmp_path: Path, write_set: Write, stage: str
) -> None:
    data, at = write_set(tmp_path / "data", {"good": 12}), [""]

    def progress(name: str, done: int, total: int) -> None:
        at[0] = name

    def check() -> None:
        if at[0] == stage:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        RECIPE.fit(build(data, "one-class", JOINT, progress=progress, check=check))


def test_few_good_parts_are_fitted_on_with_a_warning(tmp_path: Path, write_set: Write) -> None:
    for count, warned in ((12, True), (20, False)):
        data = write_set(tmp_path / f"data{count}", {"good": count})
        report = RECIPE.validate(data, "one-class", tmp_path / f"scratch{count}")
        assert not report.errors
        assert ("few_good_parts" in {n.code for n in report.notes}) is warned


@pytest.mark.weights
@pytest.mark.shared_data
def test_forty_good_castings_are_enough_to_find_the_bad(trunk_path: Path) -> None:
    if not (DATA / "casting-impeller").is_dir():
        pytest.skip("../shared/data is absent")
    known = next(k for k in SETS if k.name == "casting-impeller" and k.good_max)
    settings = {"refit": False, "folds": 2}
    tally = measure(known, DATA, trunk_path, count=4, run=1, seed=7, settings=settings)
    found = tally.measures()
    assert found["auroc"] >= 0.97
    assert found["escape_rate"] <= 0.15
    assert tally.parity <= 0.01
