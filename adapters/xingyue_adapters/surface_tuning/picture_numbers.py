"""The pictures' own numbers (``appearance``), which parts of a head are fitted on and asked by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning.features import read_rgb, relit
from xingyue_models.surface_inspection.appearance import appearance, appearances
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.views import SMALL, turned, varied

SMALL_VIEWS = 4
"""Of images of which most are small: cheap, and worth it."""
_TURNS = (0, 1, 5, 6)
"""Of the drawn views (``views.turned``)."""
_VARIED = 10
"""Up to one part in so many is cut off, and is a view larger or smaller."""
_QUARTERS = 1.35
"""Between the quarters of a normal distribution, in deviations."""
_SCALE_MIN = 1e-6
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Numbers:
    """``fitted`` ``(N, V, A)``, views drawn by chance after the image itself; ``asked``
    ``(N, VIEWS, A)``, the views that a call is answered by."""

    fitted: Rows
    asked: Rows

    @property
    def served(self) -> Rows:
        """``(N, A)``: of the images as they are."""
        return self.asked[:, 0]


def read(
    samples: Sequence[ImageSample],
    geometry: Geometry,
    brightness: float,
    seed: int,
    check: Callable[[int, int], None],
) -> Numbers:
    random = np.random.default_rng((seed, 13))
    views = SMALL_VIEWS if _small(samples) else 1
    fitted, asked = [], []
    for index, sample in enumerate(samples):
        check(index, len(samples))
        rgb = read_rgb(sample, geometry)
        drawn = (_drawn(rgb, view, brightness, random) for view in range(1, views))
        asked.append(appearances(rgb))
        fitted.append(np.stack([asked[-1][0], *(appearance(view) for view in drawn)]))
    return Numbers(np.stack(fitted), np.stack(asked))


def _small(samples: Sequence[ImageSample]) -> bool:
    """Whether the median of up to 64 of the images is."""
    sizes = []
    for sample in samples[:: -(-len(samples) // 64)]:
        with Image.open(sample.path) as image:
            sizes.append(max(image.size))
    return float(np.median(sizes)) <= SMALL


def _drawn(
    rgb: NDArray[np.uint8], view: int, brightness: float, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Turned, relit, up to a tenth cut off each border, up to a tenth larger or smaller."""
    seen = turned(rgb, _TURNS[view])
    if brightness:
        seen = relit(seen, brightness, random)
    most = max(1, min(seen.shape[:2]) // _VARIED)
    cuts = tuple(random.integers(0, most + 1, 4).tolist())
    return varied(seen, cuts, float(np.exp(random.uniform(-1, 1) / _VARIED)))


def middle(rows: Rows) -> tuple[Rows, Rows]:
    """Centre and scale ``(A,)`` by which rows ``(N, A)`` are compared (``comparison``)."""
    low, centre, high = np.quantile(rows, (0.25, 0.5, 0.75), axis=0)
    # A quarter each side of the middle; where most rows are equal, a share of the deviation.
    scale = np.maximum((high - low) / _QUARTERS, 0.1 * rows.std(axis=0))
    scale = np.where(scale > _SCALE_MIN, scale, 1.0)
    return centre.astype(np.float32), scale.astype(np.float32)
