"""From a head's maps to scores, boxes and a verdict. Pure numpy; shared by training and serving.

Image score: ``sigmoid(pixel_weight * pixel + image_weight * image + bias)``, where ``pixel`` is the
mean of the strongest defect logits (smoothed over 3x3) and ``image`` the logit of the image branch;
an image has the highest score of its windows. The three numbers are fitted on tiles that the head
was not trained on, so the score reads as a probability, good and defective being equally frequent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.manifest import GOOD

STRONGEST = 8
"""Cells of the half-resolution map whose mean is the pixel evidence: a blowhole has about that."""


@dataclass(frozen=True, slots=True)
class Calibration:
    pixel_weight: float
    image_weight: float
    bias: float

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Calibration:
        raw = manifest.get("calibration")
        names = ("pixel_weight", "image_weight", "bias")
        if not isinstance(raw, Mapping) or any(not _finite(raw.get(name)) for name in names):
            raise InvalidRequest(
                "the head manifest needs 'calibration' with the numbers " + ", ".join(names),
                param="calibration",
            )
        return cls(*(float(raw[name]) for name in names))

    def score(self, pixel: float, image: float) -> float:
        """Calibrated score in [0, 1]; higher is worse."""
        return float(
            sigmoid(np.array(self.pixel_weight * pixel + self.image_weight * image + self.bias))
        )


def sigmoid(logits: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -30, 30))), np.float32)


def pixel_evidence(logits: NDArray[np.float32]) -> float:
    """Mean of the strongest cells of a defect logit map ``(h, w)`` that holds no padding."""
    smooth = cv2.blur(logits, (3, 3), borderType=cv2.BORDER_REPLICATE).ravel()
    count = min(STRONGEST, smooth.size)
    return float(np.partition(smooth, smooth.size - count)[-count:].mean())


@dataclass(frozen=True, slots=True)
class Defect:
    """``box`` is x_min, y_min, x_max, y_max, pixels of the image as sent, the maximum excluded."""

    label: str
    score: float
    box: tuple[int, int, int, int]

    def scaled(self, across: float, down: float) -> Defect:
        """The same defect in an image that is larger by these factors; the box never shrinks."""
        x0, y0, x1, y1 = self.box
        box = (
            math.floor(x0 * across),
            math.floor(y0 * down),
            math.ceil(x1 * across),
            math.ceil(y1 * down),
        )
        return Defect(self.label, self.score, box)

    def to_json(self) -> dict[str, Any]:
        return {"label": self.label, "score": self.score, "box": list(self.box)}


def find_defects(
    heat: NDArray[np.float32],
    classes: NDArray[np.float32],
    labels: tuple[str, ...],
    *,
    threshold: float,
    defects_max: int = 50,
) -> list[Defect]:
    """Connected parts (8 neighbours) of ``heat >= threshold``, strongest first.

    ``heat`` ``(H, W)`` holds probabilities, ``classes`` ``(K, h, w)`` logits at any resolution of
    the same image. A part's label is the class with the largest logit, summed over the part and
    weighted by its heat; its score is the mean of its hottest tenth.
    """
    parts, count = ndimage.label(heat >= threshold, structure=np.ones((3, 3), np.int8))
    if not count:
        return []
    height, width = heat.shape
    found = []
    for index, place in enumerate(ndimage.find_objects(parts), start=1):
        rows, columns = place
        inside = parts[place] == index
        area = int(inside.sum())
        if area < 4:
            continue
        values = heat[place][inside]
        hottest = np.partition(values, area - 1 - area // 10)[area - 1 - area // 10 :]
        y = (np.nonzero(inside)[0] + rows.start) * classes.shape[1] // height
        x = (np.nonzero(inside)[1] + columns.start) * classes.shape[2] // width
        votes = (classes[:, y, x] * values).sum(axis=1)
        found.append(
            Defect(
                labels[int(votes.argmax())],
                round(float(hottest.mean()), 4),
                (int(columns.start), int(rows.start), int(columns.stop), int(rows.stop)),
            )
        )
    found.sort(key=lambda d: (-d.score, d.box))
    return found[:defects_max]


def ranked(names: tuple[str, ...], chances: NDArray[np.float32]) -> list[dict[str, Any]]:
    """``classes`` of an answer, likeliest first; ``chances`` ``(K,)`` add up to 1."""
    order = np.argsort(-chances, kind="stable")
    return [{"label": names[i], "score": round(float(chances[i]), 4)} for i in order]


def whole_image(classes: list[dict[str, Any]], width: int, height: int) -> dict[str, Any]:
    """What a head that names no place reports of a failed image: its likeliest defect, boxed by
    the image's own borders. ``classes`` as ``ranked`` gives them."""
    likeliest = next(found for found in classes if found["label"] != GOOD)
    return likeliest | {"box": [0, 0, width, height]}


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and bool(np.isfinite(value))
