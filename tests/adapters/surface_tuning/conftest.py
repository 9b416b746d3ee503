"""A made data set of good, scratched and spotted parts, drawn here; and the real trunk."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from xingyue.contract import FitContext, RuntimeSpec

TRUNK_SHA256 = "b758353e9aecbe74920f96c7557cfa3a4b58b835b5a0dd88222771eb4fb0137c"
Build = Callable[..., FitContext]


def render(kind: str, seed: int, side: int = 128) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A part with a grain, and the mask: a scratch is dark and thin, a spot bright and round."""
    random = np.random.default_rng((seed, ("good", "scratch", "spot").index(kind)))
    grain = cv2.GaussianBlur(random.normal(0, 1, (side, side)), (0, 0), 5) * 40
    surface = 130 + grain + random.normal(0, 3, (side, side))
    mask = np.zeros((side, side), np.uint8)
    start = random.uniform(24, side - 24, 2)
    if kind == "scratch":
        angle, length = random.uniform(0, np.pi), random.uniform(25, 45)
        stop = start + length * np.array([np.cos(angle), np.sin(angle)])
        cv2.line(mask, start.astype(int).tolist(), stop.astype(int).tolist(), 255, 2)
    elif kind == "spot":
        cv2.circle(mask, start.astype(int).tolist(), int(random.integers(5, 9)), 255, -1)
    depth = {"good": 0.0, "scratch": -0.5, "spot": 0.5}[kind]
    soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.8)
    return np.clip(surface * (1 + depth * soft), 0, 255).astype(np.uint8), mask


def _write(folder: Path, counts: Mapping[str, int], *, masks: bool = False) -> Path:
    """``good/``, ``scratch/``, ``spot/`` as a tenant would send them."""
    for kind, count in counts.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            grey, mask = render(kind, number)
            name = f"{kind}-{chr(97 + number // 26)}{chr(97 + number % 26)}.png"
            cv2.imwrite(str(folder / kind / name), grey)
            if masks and kind != "good":
                (folder / "masks" / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / "masks" / kind / name), mask)
    return folder


@pytest.fixture(scope="session")
def trunk_path() -> Path:
    """The built trunk: ``XINGYUE_TRUNK_ONNX``, or the weight folder of the home."""
    if named := os.environ.get("XINGYUE_TRUNK_ONNX"):
        return Path(named)
    home = Path(os.environ.get("XINGYUE_HOME", ".xingyue"))
    found = sorted((home / "weights" / TRUNK_SHA256).glob("*.onnx"))
    if not found:
        pytest.skip("the trunk is not built: make weights")
    return found[0]


@pytest.fixture(scope="session")
def write_set() -> Callable[..., Path]:
    return _write


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 good parts, 16 scratched and 16 spotted, with masks."""
    folder = tmp_path_factory.mktemp("parts")
    return _write(folder, {"good": 20, "scratch": 16, "spot": 16}, masks=True)


@pytest.fixture
def build(tmp_path: Path, trunk_path: Path) -> Build:
    """A fit's context over ``data``; every call has folders of its own."""
    made = 0

    def make(data: Path, method: str, settings: Mapping[str, Any] | None = None,
             **changes: Any) -> FitContext:  # fmt: skip
        nonlocal made
        made += 1
        home = tmp_path / f"fit{made}"
        for name in ("out", "scratch"):
            (home / name).mkdir(parents=True)
        values: dict[str, Any] = {
            "method": method,
            "data": data,
            "validation": None,
            "base": None,
            "weights": lambda name: trunk_path,
            "runtime": RuntimeSpec(),
            "hyperparameters": settings or {},
            "seed": 7,
            "out": home / "out",
            "scratch": home / "scratch",
        }
        return FitContext(**values | changes)

    return make
