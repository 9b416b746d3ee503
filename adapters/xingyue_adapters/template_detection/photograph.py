"""What a camera, an etching bath and a JPEG encoder do to a board's picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_models.template_detection.inputs import Plane, normalise_grey


def photograph(image: Plane, template: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Grey levels, uneven light, blur, noise and JPEG: mostly shared, a little of each one's own.

    Both come back normalised, as serving does it.
    """
    dark, light = rng.uniform(0, 0.25), rng.uniform(0.7, 1.0)
    sigma = float(rng.uniform(0, 1.3))
    compressed = rng.random() < 0.5
    results = []
    for plane in (image, template):
        own_dark, own_light = dark + rng.normal(0, 0.02), light + rng.normal(0, 0.02)
        changed = np.asarray(own_dark + (own_light - own_dark) * plane, np.float32)
        if sigma > 0.3:
            own_sigma = sigma + float(rng.uniform(0, 0.3))
            changed = np.asarray(cv2.GaussianBlur(changed, (0, 0), own_sigma), np.float32)
        if rng.random() < 0.5:
            coarse = rng.normal(0, 0.06, (5, 5)).astype(np.float32)
            changed = changed + cv2.resize(coarse, plane.shape[::-1], interpolation=cv2.INTER_CUBIC)
        if rng.random() < 0.6:
            deviation = np.float32(rng.uniform(0, 0.06))
            changed = changed + deviation * rng.standard_normal(plane.shape, np.float32)
        grey = np.clip(changed * 255, 0, 255).astype(np.uint8)
        if compressed:
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(35, 96))]
            data = cv2.imencode(".jpg", grey, quality)[1]
            grey = np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)
        results.append(normalise_grey(grey))
    return results[0], results[1]


def ragged_edges(board: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Edges as etching and thresholding leave them, so that a template is never pixel-exact."""
    noise = rng.standard_normal(board.shape, np.float32)
    width = float(rng.uniform(1.0, 2.5))
    noise = np.asarray(cv2.GaussianBlur(noise, (0, 0), width), np.float32)
    noise *= float(rng.uniform(0.05, 0.3)) / max(float(noise.std()), 1e-6)
    soft = cv2.GaussianBlur(board.astype(np.float32) / 255, (0, 0), 1.2)
    return np.where(soft + noise.clip(-0.45, 0.45) > 0.5, 255, 0).astype(np.uint8)
