"""The stated accuracy on a real set, on images that were not fitted on; one fold, for time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xingyue_adapters.surface_tuning.accuracy import SETS, measure

DATA = Path(os.environ.get("XINGYUE_SHARED_DATA", "../shared/data"))


@pytest.mark.weights
@pytest.mark.shared_data
def test_six_kinds_of_steel_defects_are_told_apart(trunk_path: Path) -> None:
    if not (DATA / "neu-steel").is_dir():
        pytest.skip("../shared/data is absent")
    known = next(known for known in SETS if known.name == "neu-steel")
    settings = {"views": 2, "refit": False, "folds": 2}
    tally = measure(known, DATA, trunk_path, count=4, run=1, seed=7, settings=settings)
    assert len(tally.truth) == 90
    assert tally.measures()["accuracy"] >= 0.97
    assert tally.parity <= 0.01
    assert all(tally.verdicts)
