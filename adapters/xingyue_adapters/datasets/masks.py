"""Masks: read as booleans, drawn from polygons."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.drafts import Polygon
from xingyue_adapters.datasets.samples import ImageSample
from xingyue_models.images import decode


def read_mask(sample: ImageSample) -> NDArray[np.bool_] | None:
    """Where the defect is, ``(height, width)`` of the image; None if no mask was given.

    Grey above 127 is defect; in a mask of small numbers (0, 1, 2, ...) everything but 0 is.
    ``InvalidRequest`` if the mask can't be read or is of another size than its image.
    """
    if sample.mask is None:
        return None
    values = decode(sample.mask.read_bytes(), param=sample.mask.name).rgb.max(axis=2)
    height, width = values.shape
    if (width, height) != (sample.width, sample.height):
        raise InvalidRequest(
            f"mask {sample.mask.name} is {width}x{height}, its image {sample.name} is "
            f"{sample.width}x{sample.height}; export it at the image's size",
            param="masks",
            code="mask_size",
        )
    threshold = 127 if values.max() > 127 else 0
    return np.asarray(values > threshold)


def draw_mask(polygons: Sequence[Polygon], size: tuple[int, int], folder: Path, name: str) -> Path:
    """PNG below ``folder`` of all ``polygons`` filled; ``size`` is (width, height)."""
    width, height = size
    canvas = np.zeros((height, width), np.uint8)
    for polygon in polygons:
        corners = np.round(np.clip(np.array(polygon), -1e6, 1e6)).astype(np.int32)
        cv2.fillPoly(canvas, [corners], 255)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:20]}.png"
    _, encoded = cv2.imencode(".png", canvas)
    path.write_bytes(encoded.tobytes())
    return path
