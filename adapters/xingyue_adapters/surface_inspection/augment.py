"""Augmentation of one grey image and its label map, and defects pasted onto good surfaces.

Images are uint8 ``(H, W)``; label maps are uint8 ``(H, W)``: 0 good, 1 + class index on a defect,
255 where it is unknown. All randomness comes from the generator that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_models.surface_inspection.geometry import PAD_VALUE

UNKNOWN = 255
Grey = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Labelled:
    """``scale`` brings the image to the size at which it is served."""

    grey: Grey
    labels: Grey
    scale: float


def paste(good: Labelled, donor: Labelled, random: np.random.Generator) -> Labelled:
    """``good`` with one defect of ``donor`` blended in, its brightness fitted to the new place."""
    known = (donor.labels > 0) & (donor.labels < UNKNOWN)
    count, parts, stats, _ = cv2.connectedComponentsWithStats(known.astype(np.uint8))
    if count < 2:
        return good
    index = int(random.integers(1, count))
    x, y, w, h = (int(v) for v in stats[index, :4])
    margin = 6
    x0, y0 = max(0, x - margin), max(0, y - margin)
    x1, y1 = x + w + margin, y + h + margin
    patch = donor.grey[y0:y1, x0:x1].astype(np.float32)
    labels = np.where(parts == index, donor.labels, 0)[y0:y1, x0:x1].astype(np.uint8)
    ratio = good_ratio(donor, good) * float(random.uniform(0.7, 1.4))
    size = (max(3, round(patch.shape[1] * ratio)), max(3, round(patch.shape[0] * ratio)))
    patch = np.asarray(cv2.resize(patch, size, interpolation=cv2.INTER_LINEAR), np.float32)
    labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    if random.random() < 0.5:
        patch, labels = patch[:, ::-1], labels[:, ::-1]
    if random.random() < 0.5:
        patch, labels = patch[::-1], labels[::-1]
    height, width = patch.shape
    if height >= good.grey.shape[0] - 8 or width >= good.grey.shape[1] - 8 or not labels.any():
        return good
    top = int(random.integers(4, good.grey.shape[0] - height - 3))
    left = int(random.integers(4, good.grey.shape[1] - width - 3))
    grey, target = good.grey.copy(), good.labels.copy()
    spot = grey[top : top + height, left : left + width].astype(np.float32)
    around = labels == 0
    if around.sum() < 8:
        return good
    gain = (spot[around].mean() + 4) / (patch[around].mean() + 4)
    hard = cv2.dilate((labels > 0).astype(np.float32), np.ones((3, 3), np.uint8))
    soft = np.asarray(cv2.GaussianBlur(hard, (0, 0), 1.0))
    mixed = spot * (1 - soft) + np.clip(patch * gain, 0, 255) * soft
    grey[top : top + height, left : left + width] = mixed.round().astype(np.uint8)
    area = target[top : top + height, left : left + width]
    area[labels > 0] = labels[labels > 0]
    return Labelled(grey, target, good.scale)


def good_ratio(donor: Labelled, good: Labelled) -> float:
    """Factor that gives a donor's defect the size it has when served, on the other image."""
    return donor.scale / good.scale


def crop(item: Labelled, side: int, random: np.random.Generator) -> tuple[Grey, Grey]:
    """A ``(side, side)`` view: flipped, turned, scaled, often centred on a defect."""
    grey, labels = item.grey, item.labels
    if random.random() < 0.5:
        grey, labels = grey[:, ::-1], labels[:, ::-1]
    if random.random() < 0.5:
        grey, labels = grey[::-1], labels[::-1]
    if random.random() < 0.25:
        grey, labels = grey.T, labels.T
    scale = item.scale * float(np.exp(random.uniform(-0.25, 0.25)))
    width = max(16, round(grey.shape[1] * scale * float(np.exp(random.uniform(-0.1, 0.1)))))
    height = max(16, round(grey.shape[0] * scale * float(np.exp(random.uniform(-0.1, 0.1)))))
    mode = cv2.INTER_AREA if width < grey.shape[1] else cv2.INTER_LINEAR
    grey = np.asarray(
        cv2.resize(np.ascontiguousarray(grey), (width, height), interpolation=mode), np.uint8
    )
    labels = _resize_labels(np.ascontiguousarray(labels), width, height)
    left, top = _offset(labels, side, random)
    view = np.full((side, side), PAD_VALUE, np.uint8)
    target = np.zeros((side, side), np.uint8)
    part = grey[max(0, top) : top + side, max(0, left) : left + side]
    y, x = max(0, -top), max(0, -left)
    view[y : y + part.shape[0], x : x + part.shape[1]] = photometric(part, random)
    target[y : y + part.shape[0], x : x + part.shape[1]] = labels[
        max(0, top) : top + side, max(0, left) : left + side
    ]
    return view, target


def photometric(grey: Grey, random: np.random.Generator) -> Grey:
    """Gamma, contrast, brightness, a slow illumination slope, blur and noise."""
    x = grey.astype(np.float32) / 255
    if random.random() < 0.5:
        x = x ** float(np.exp(random.uniform(-0.4, 0.4)))
    x = (x - 0.5) * float(np.exp(random.uniform(-0.35, 0.25))) + 0.5
    x = x + float(random.uniform(-0.12, 0.12))
    if random.random() < 0.3:
        slope = np.linspace(-1, 1, x.shape[1], dtype=np.float32)[None, :] * random.uniform(-1, 1)
        slope = slope + np.linspace(-1, 1, x.shape[0], dtype=np.float32)[:, None] * random.uniform(
            -1, 1
        )
        x = x * (1 + 0.15 * slope.astype(np.float32))
    if random.random() < 0.2:
        x = np.asarray(cv2.GaussianBlur(x, (0, 0), float(random.uniform(0.4, 1.0))))
    if random.random() < 0.4:
        x = x + random.normal(0, random.uniform(0.005, 0.03), x.shape).astype(np.float32)
    return np.clip(x * 255, 0, 255).round().astype(np.uint8)


def _resize_labels(labels: Grey, width: int, height: int) -> Grey:
    """Nearest, but a thin defect that would fall between the samples is kept (max of a 3x3)."""
    if width < labels.shape[1] and labels.max() < UNKNOWN:
        labels = np.asarray(cv2.dilate(labels, np.ones((2, 2), np.uint8)), np.uint8)
    return np.asarray(
        cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST), np.uint8
    )


def _offset(labels: Grey, side: int, random: np.random.Generator) -> tuple[int, int]:
    """Left and top of the crop; negative values pad on the left or the top."""
    height, width = labels.shape
    rows, columns = np.nonzero((labels > 0) & (labels < UNKNOWN))
    if len(rows) and random.random() < 0.6:
        pick = int(random.integers(len(rows)))
        left = int(columns[pick] - random.uniform(0.1, 0.9) * side)
        top = int(rows[pick] - random.uniform(0.1, 0.9) * side)
    else:
        left = int(random.integers(min(0, width - side), max(0, width - side) + 1))
        top = int(random.integers(min(0, height - side), max(0, height - side) + 1))
    left = min(max(left, min(0, width - side)), max(0, width - side))
    top = min(max(top, min(0, height - side)), max(0, height - side))
    return left, top
