"""Rendered motor magnet tiles: licence-free images for demos and tests, and a few for training.

A tile is a grey rectangle with vertical grinding lines, slow shading and dark margins, as a line
camera sees a sintered ferrite segment. A crack is a thin dark random walk. Everything follows from
the seed: the same arguments give the same pixels, and a good tile is its cracked twin unharmed.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

DEMO_SEED = 20_26
"""Not among the seeds that the training script renders (those are below 1,000)."""


@dataclass(frozen=True, slots=True)
class RenderedTile:
    """``grey`` and ``mask`` are uint8 ``(height, width)``; the mask is 255 on the defect."""

    grey: NDArray[np.uint8]
    mask: NDArray[np.uint8]

    def png(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.grey).save(buffer, format="PNG")
        return buffer.getvalue()


def render_tile(
    *, cracked: bool, seed: int = DEMO_SEED, width: int = 280, height: int = 340
) -> RenderedTile:
    """Render one tile; ``cracked`` adds one crack, 3 to 5 pixels wide, that starts at an edge."""
    random = np.random.default_rng((seed, 1))
    surface = _surface(random, width, height)
    level = random.uniform(75, 150)
    noise = random.normal(0, 2.0, (height, width))
    mask = np.zeros((height, width), np.uint8)
    if cracked:
        mask = _crack(np.random.default_rng((seed, 2)), width, height)
        soft = cv2.GaussianBlur(mask.astype(np.float32) / 255, (0, 0), 0.7)
        depth = 0.55 + 0.2 * random.random()
        surface = surface * (1 - depth * soft)
    grey = np.clip(surface * level + noise, 0, 255).round().astype(np.uint8)
    return RenderedTile(grey, mask)


def _surface(random: np.random.Generator, width: int, height: int) -> NDArray[np.float64]:
    """Relative brightness around 1: shading x grinding lines x grain, with dark margins."""
    lines = random.normal(0, 1, width)
    lines = 0.05 * lines + 0.06 * cv2.GaussianBlur(lines[None, :], (0, 0), 3)[0] * 3
    coarse = _enlarge(random.normal(0, 1, (4, 4)), width, height)
    streak = _enlarge(random.normal(0, 1, (height // 10 + 1, width)), width, height)
    grain = cv2.GaussianBlur(random.normal(0, 1, (height, width)), (0, 0), 0.8)
    surface = 1 + lines[None, :] + 0.06 * coarse + 0.03 * streak + 0.05 * grain
    across = np.minimum(np.arange(width), np.arange(width)[::-1])
    down = np.minimum(np.arange(height), np.arange(height)[::-1])
    margin = np.clip(across / random.uniform(2, 5), 0.25, 1)[None, :]
    margin = margin * np.clip(down / random.uniform(3, 7), 0.12, 1)[:, None]
    return np.asarray(np.clip(surface, 0.3, 1.9) * margin, np.float64)


def _enlarge(values: NDArray[np.float64], width: int, height: int) -> NDArray[np.float64]:
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_CUBIC))


def _crack(random: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """A random walk from the upper or lower edge into the tile, as a filled polyline."""
    x = random.uniform(0.25, 0.75) * width
    y = 4.0 if random.random() < 0.5 else height - 5.0
    inward = np.pi / 2 if y < height / 2 else -np.pi / 2
    heading = inward + random.uniform(-0.4, 0.4)
    points = [(x, y)]
    for _ in range(int(random.uniform(0.3, 0.5) * height / 6)):
        heading += 0.1 * (inward - heading) + random.normal(0, 0.25)
        x, y = x + 6 * np.cos(heading), y + 6 * np.sin(heading)
        points.append((x, y))
    mask = np.zeros((height, width), np.uint8)
    path = np.round(np.array(points)).astype(np.int32)
    for start, stop in pairwise(path):
        thickness = int(random.integers(2, 5))
        cv2.line(mask, start.tolist(), stop.tolist(), 255, thickness)
    return mask


def write_samples(folder: Path) -> list[Path]:
    """The two demonstration tiles as PNG files; entry point of ``xingyue.samples``."""
    written = []
    for name, cracked in (("tile-crack.png", True), ("tile-good.png", False)):
        path = folder / name
        path.write_bytes(render_tile(cracked=cracked).png())
        written.append(path)
    return written
