"""The real trunk with the shipped head ``appliance-surface-qc``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xingyue.contract import WorkItem, WorkResult
from xingyue_adapters.surface_inspection.samples import DEMO_SEED, render_tile
from xingyue_models.surface_inspection import family
from xingyue_models.surface_inspection.trunk import SurfaceTrunk

SHIPPED = Path(family.__file__).parent / "heads" / "appliance-surface-qc" / "1"
Real = tuple[SurfaceTrunk, Any]


def ask(real: Real, *tiles: bytes) -> list[dict[str, Any]]:
    trunk, head = real
    outcomes = trunk.infer(
        [WorkItem("inspect", None, {"image": data}) for data in tiles], [head] * len(tiles)
    )
    assert all(isinstance(o, WorkResult) for o in outcomes), outcomes
    return [o.value for o in outcomes if isinstance(o, WorkResult)]


def test_the_manifest_lists_what_is_there() -> None:
    manifest = json.loads((SHIPPED / "manifest.json").read_text())
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((SHIPPED / name).read_bytes()).hexdigest() == digest
    size = sum(path.stat().st_size for path in SHIPPED.iterdir())
    assert size <= 12 * 2**20
    assert manifest["licence"]["commercial_use"] is False
    assert manifest["metrics"]["magnetic-tile"]["image_auroc"] > 0.9


@pytest.mark.weights
@pytest.mark.parametrize("seed", [DEMO_SEED, 5001, 5002, 5003])
def test_a_rendered_crack_fails_and_its_good_twin_passes(real: Real, seed: int) -> None:
    cracked, good = render_tile(cracked=True, seed=seed), render_tile(cracked=False, seed=seed)
    first, second = ask(real, cracked.png(), good.png())
    assert (first["verdict"], second["verdict"]) == ("fail", "pass")
    assert first["defects"][0]["label"] == "crack"
    x0, y0, x1, y1 = first["defects"][0]["box"]
    assert cracked.mask[y0:y1, x0:x1].any()


@pytest.mark.weights
def test_real_answers_do_not_depend_on_neighbours(real: Real) -> None:
    tiles = [
        render_tile(cracked=n % 2 == 0, seed=6000 + n, width=200 + 60 * n, height=260).png()
        for n in range(5)
    ]
    together = ask(real, *tiles)
    alone = [ask(real, tile)[0] for tile in tiles]
    scores = np.array([[a["score"], b["score"]] for a, b in zip(together, alone, strict=True)])
    assert np.abs(scores[:, 0] - scores[:, 1]).max() < 2e-3
    assert [a["verdict"] for a in together] == [a["verdict"] for a in alone]
