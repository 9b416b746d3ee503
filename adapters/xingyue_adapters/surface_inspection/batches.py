"""Balanced training batches: half defective, half good, drawn by class and not by frequency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_inspection.augment import UNKNOWN, Labelled, crop, paste
from xingyue_adapters.surface_inspection.datasets import Sample
from xingyue_adapters.surface_inspection.samples import render_tile
from xingyue_adapters.surface_inspection.uneven import make_uneven
from xingyue_models.surface_inspection.geometry import Geometry, expose, windows

RENDERED_SEEDS = 60
"""Rendered tiles in training: seeds 0 .. 59, cracked and good."""
_PASTE_SHARE = 0.25
_UNEVEN_SHARE = 0.2
"""Shares of the good half of a batch that get a defect pasted, or an uneven field made."""
_PASTED_LABELS = ("blowhole", "break", "crack", "fray", "rendered")


def load(sample: Sample, labels: Sequence[str], geometry: Geometry) -> list[Labelled]:
    """The windows of one image with their label maps, before any scaling."""
    grey = cv2.imread(str(sample.path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError(f"cannot read {sample.path}")
    height, width = grey.shape
    mask = sample.read_mask(width, height)
    value = labels.index(sample.label) + 1 if sample.defective else 0
    target = np.full((height, width), UNKNOWN, np.uint8)
    if mask is not None:
        target = np.where(mask > 0, value, 0).astype(np.uint8)
    return split_windows(np.asarray(grey, np.uint8), target, geometry)


def split_windows(
    grey: NDArray[np.uint8], target: NDArray[np.uint8], geometry: Geometry
) -> list[Labelled]:
    if geometry.exposure:
        grey = expose(grey)
    found = []
    for place in windows(grey.shape[1], grey.shape[0], geometry):
        rows, columns = slice(place.y0, place.y1), slice(place.x0, place.x1)
        scale = place.width / (place.x1 - place.x0)
        found.append(Labelled(grey[rows, columns].copy(), target[rows, columns].copy(), scale))
    return found


class BatchSource:
    """Endless batches from memory; deterministic for a seed."""

    def __init__(
        self,
        samples: Sequence[Sample],
        labels: Sequence[str],
        geometry: Geometry,
        crop_side: int,
        seed: int,
    ) -> None:
        self._side = crop_side
        self._random = np.random.default_rng(seed)
        self._uneven = labels.index("uneven") + 1
        self._defects: dict[str, list[Labelled]] = {}
        self._good: dict[str, list[Labelled]] = {}
        for sample in samples:
            parts = load(sample, labels, geometry)
            pool = self._defects if sample.defective else self._good
            key = f"{sample.source}/{sample.label}"
            for part in parts:
                clean = sample.defective and not part.labels.any()
                home = self._good if clean else pool
                home.setdefault(sample.source if home is self._good else key, []).append(part)
        crack = labels.index("crack") + 1
        for seed_number in range(RENDERED_SEEDS):
            for cracked in (False, True):
                tile = render_tile(cracked=cracked, seed=seed_number, width=250, height=300)
                target = np.where(tile.mask > 0, crack, 0).astype(np.uint8)
                pool = self._defects if cracked else self._good
                pool.setdefault("rendered", []).extend(split_windows(tile.grey, target, geometry))
        self._weights = _weights(self._defects, {"rendered": 0.25})
        self._good_weights = _weights(self._good, {"rendered": 0.06, "kolektor-commutator": 0.2})

    def batch(self, size: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Grey views and label maps, both ``(size, side, side)`` uint8."""
        views, targets = [], []
        for index in range(size):
            if index % 2:
                item = self._draw(self._defects, self._weights)
            else:
                item = self._draw(self._good, self._good_weights)
                chance = self._random.random()
                if chance < _UNEVEN_SHARE:
                    other = self._draw(self._good, self._good_weights)
                    item = make_uneven(item, other, self._uneven, self._random)
                elif chance < _UNEVEN_SHARE + _PASTE_SHARE:
                    item = paste(item, self._draw(self._defects, self._weights, True), self._random)
            view, target = crop(item, self._side, self._random)
            views.append(view)
            targets.append(target)
        return np.stack(views), np.stack(targets)

    def _draw(
        self,
        pool: Mapping[str, list[Labelled]],
        weights: Mapping[str, float],
        pasted: bool = False,
    ) -> Labelled:
        keys = [k for k in pool if not pasted or k.split("/")[-1] in _PASTED_LABELS]
        chance = np.array([weights[k] for k in keys])
        key = keys[int(self._random.choice(len(keys), p=chance / chance.sum()))]
        return pool[key][int(self._random.integers(len(pool[key])))]


def _weights(pool: Mapping[str, list[Labelled]], special: Mapping[str, float]) -> dict[str, float]:
    """Every class alike, but for the ones named."""
    return {key: special.get(key, 1.0) for key in pool}
