"""A board and the same board with an open circuit, drawn here: free to ship."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xingyue_adapters.template_detection.board_rendering import render_board
from xingyue_adapters.template_detection.dataset import LABELS
from xingyue_adapters.template_detection.synthesis import paint_defects

DEMO_SEED = 2026


def render_pair(seed: int = DEMO_SEED) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """(template, image with one open), grey (640, 640)."""
    template = render_board(seed)
    for attempt in range(200):
        rng = np.random.default_rng(seed + attempt)
        image, _, labels = paint_defects(template, 1, rng)
        if [LABELS[label] for label in labels] == ["open"]:
            return template, image
    raise RuntimeError(f"board {seed} has no trace that could be opened")


def write_samples(folder: Path) -> list[Path]:
    """Entry point of ``xingyue.samples``."""
    written = []
    for name, grey in zip(("board-template.png", "board-open.png"), render_pair(), strict=True):
        Image.fromarray(grey).save(folder / name)
        written.append(folder / name)
    return written
