from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

Write = Callable[..., Path]


@pytest.fixture
def draw() -> Write:
    """Writes a picture that follows from its path's last parts, unlike that of any other name."""

    def write(path: Path, size: tuple[int, int] = (64, 48), seed: str | None = None) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        words = "/".join(path.parts[-3:]) if seed is None else seed
        random = np.random.default_rng(zlib.crc32(words.encode()))
        coarse = random.integers(0, 255, (6, 8), np.uint8)
        Image.fromarray(cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)).save(path)
        return path

    return write


@pytest.fixture
def draw_mask() -> Write:
    """Writes a mask of 255 in ``box`` (x_min, y_min, x_max, y_max)."""

    def write(
        path: Path,
        size: tuple[int, int] = (64, 48),
        box: tuple[int, int, int, int] = (5, 5, 20, 15),
        value: int = 255,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        mask = np.zeros(size[::-1], np.uint8)
        mask[box[1] : box[3], box[0] : box[2]] = value
        Image.fromarray(mask).save(path)
        return path

    return write


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder
