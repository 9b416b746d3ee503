from __future__ import annotations

import numpy as np
import pytest

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.scoring import (
    Calibration,
    Defect,
    find_defects,
    pixel_evidence,
)

LABELS = ("crack", "hole")


def test_parts_are_boxed_labelled_and_sorted() -> None:
    heat = np.zeros((80, 100), np.float32)
    heat[10:20, 30:50] = 0.7
    heat[60:70, 80:90] = 0.9
    classes = np.zeros((2, 20, 25), np.float32)
    classes[1, 15:18, 20:23] = 5
    classes[0, :6] = 2
    found = find_defects(heat, classes, LABELS, threshold=0.5)
    assert [(d.label, d.box) for d in found] == [
        ("hole", (80, 60, 90, 70)),
        ("crack", (30, 10, 50, 20)),
    ]
    assert found[0].score == pytest.approx(0.9, abs=1e-3)


def test_diagonal_neighbours_are_one_part_and_specks_are_none() -> None:
    heat = np.zeros((20, 20), np.float32)
    for i in range(10):
        heat[i, i] = 0.8
    heat[15, 3] = 0.99
    found = find_defects(heat, np.zeros((2, 5, 5), np.float32), LABELS, threshold=0.5)
    assert [d.box for d in found] == [(0, 0, 10, 10)]


def test_defects_are_bounded_in_number() -> None:
    heat = np.zeros((100, 100), np.float32)
    heat[::4, :][:, ::4] = 0.9
    heat[1::4, :][:, ::4] = 0.9
    heat[::4, :][:, 1::4] = 0.9
    heat[1::4, :][:, 1::4] = 0.9
    classes = np.zeros((2, 25, 25), np.float32)
    assert len(find_defects(heat, classes, LABELS, threshold=0.5, defects_max=7)) == 7


def test_a_scaled_box_never_loses_pixels() -> None:
    assert Defect("crack", 0.5, (1, 1, 3, 3)).scaled(1.5, 1.4).box == (1, 1, 5, 5)


def test_evidence_is_the_mean_of_the_strongest_cells() -> None:
    logits = np.full((40, 40), -5.0, np.float32)
    assert pixel_evidence(logits) == pytest.approx(-5.0)
    logits[10:16, 10:16] = 3.0
    assert pixel_evidence(logits) == pytest.approx(3.0)
    assert pixel_evidence(logits[:1, :1]) == pytest.approx(-5.0)


def test_calibration_rises_with_both_and_stays_in_bounds() -> None:
    calibration = Calibration(1.0, 0.5, -1.0)
    assert calibration.score(0, 0) < calibration.score(1, 0) < calibration.score(1, 1)
    assert 0 <= calibration.score(-1e9, -1e9) <= calibration.score(1e9, 1e9) <= 1


@pytest.mark.parametrize(
    "raw",
    [None, {}, {"pixel_weight": 1, "image_weight": "x", "bias": 0},
     {"pixel_weight": 1, "image_weight": float("nan"), "bias": 0}],
    ids=["absent", "empty", "text", "nan"],
)  # fmt: skip
def test_a_wrong_calibration_is_refused(raw: object) -> None:
    with pytest.raises(InvalidRequest, match="calibration"):
        Calibration.from_manifest({"calibration": raw})
