"""Training samples: crops of real, painted and clean boards, as a camera might have seen them.

A sample is the (4, size, size) float32 input of the trunk (see
``xingyue_models.template_detection.inputs``) with its boxes in pixels of the crop and its labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.template_detection.synthesis import paint_defects
from xingyue_models.template_detection.inputs import stack_planes

Grey = NDArray[np.uint8]
Plane = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Example:
    """A board pair in memory: grey levels and what is marked on the image."""

    image: Grey
    template: Grey
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class AugmentSettings:
    """Shares (0 to 1) and ranges of what is done to a sample."""

    size: int = 320
    painted_share: float = 0.22
    clean_share: float = 0.08
    no_template_share: float = 0.35
    rescale_share: float = 0.4
    misalign_share: float = 0.6
    shift_max_px: float = 3.0
    rotation_max_deg: float = 0.5
    photo_share: float = 0.5


@dataclass(frozen=True, slots=True)
class Sample:
    planes: Plane
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def make_sample(
    example: Example, board: Grey, settings: AugmentSettings, rng: np.random.Generator
) -> Sample:
    """One sample of ``example``, or of the defect-free ``board`` with painted or no defects."""
    draw = rng.random()
    if draw < settings.painted_share + settings.clean_share:
        count = int(rng.integers(6, 22)) if draw < settings.painted_share else 0
        painted, boxes, labels = paint_defects(board, count, rng)
        if rng.random() < 0.7:
            painted = _ragged_edges(painted, rng)
        example = Example(painted, board, boxes, labels)
    image, template, boxes, labels = _crop(example, settings, rng)
    image, template, boxes = _turn(image, template, boxes, rng)
    if rng.random() < settings.photo_share:
        image, template = _photograph(image, template, rng)
    used = None if rng.random() < settings.no_template_share else template
    return Sample(stack_planes(image, used), boxes, labels)


def _crop(
    example: Example, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[Plane, Plane, NDArray[np.float32], NDArray[np.int64]]:
    """A rescaled crop of both; the template a little off, as registration leaves it."""
    size = settings.size
    scale = float(rng.uniform(0.75, 1.35)) if rng.random() < settings.rescale_share else 1.0
    height, width = example.image.shape
    left = float(rng.integers(0, max(1, int(width - size / scale) + 1)))
    top = float(rng.integers(0, max(1, int(height - size / scale) + 1)))
    move = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]], np.float64)
    smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.warpAffine(
        example.image, move, (size, size), flags=smaller, borderMode=cv2.BORDER_REPLICATE
    )
    template_move = move.copy()
    if rng.random() < settings.misalign_share:
        angle = float(rng.normal(0, settings.rotation_max_deg / 2))
        shift = rng.uniform(-settings.shift_max_px, settings.shift_max_px, 2)
        turn = np.vstack([cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1.0), [0, 0, 1]])
        turn[:2, 2] += shift
        template_move = (turn @ np.vstack([move, [0, 0, 1]]))[:2]
    # Where the template has no pixels the image's own stand in, as in serving.
    template = image.copy()
    cv2.warpAffine(
        example.template,
        template_move,
        (size, size),
        dst=template,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_TRANSPARENT,
    )
    boxes = (example.boxes - np.array([left, top, left, top], np.float32)) * scale
    clipped = boxes.clip(0, size)
    area = np.maximum((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]), 1e-6)
    seen = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1]) / area
    kept = seen >= 0.5
    planes = (image.astype(np.float32) / 255, template.astype(np.float32) / 255)
    return *planes, clipped[kept].astype(np.float32), example.labels[kept]


def _turn(
    image: Plane, template: Plane, boxes: NDArray[np.float32], rng: np.random.Generator
) -> tuple[Plane, Plane, NDArray[np.float32]]:
    """One of the eight symmetries of the square, the same for both."""
    size = image.shape[0]
    if rng.random() < 0.5:
        image, template = image.T, template.T
        boxes = boxes[:, [1, 0, 3, 2]]
    if rng.random() < 0.5:
        image, template = image[:, ::-1], template[:, ::-1]
        boxes = np.stack([size - boxes[:, 2], boxes[:, 1], size - boxes[:, 0], boxes[:, 3]], 1)
    if rng.random() < 0.5:
        image, template = image[::-1], template[::-1]
        boxes = np.stack([boxes[:, 0], size - boxes[:, 3], boxes[:, 2], size - boxes[:, 1]], 1)
    return np.ascontiguousarray(image), np.ascontiguousarray(template), boxes


def _photograph(image: Plane, template: Plane, rng: np.random.Generator) -> tuple[Plane, Plane]:
    """Grey levels, uneven light, blur and noise: mostly shared, a little of each one's own."""
    dark, light = rng.uniform(0, 0.22), rng.uniform(0.78, 1.0)
    sigma = float(rng.uniform(0, 1.3))
    results = []
    for plane in (image, template):
        own_dark, own_light = dark + rng.normal(0, 0.02), light + rng.normal(0, 0.02)
        changed = own_dark + (own_light - own_dark) * plane
        if sigma > 0.3:
            changed = cv2.GaussianBlur(changed, (0, 0), sigma + float(rng.uniform(0, 0.3)))
        if rng.random() < 0.5:
            coarse = rng.normal(0, 0.06, (5, 5)).astype(np.float32)
            changed = changed + cv2.resize(coarse, plane.shape[::-1], interpolation=cv2.INTER_CUBIC)
        if rng.random() < 0.6:
            deviation = float(rng.uniform(0, 0.07))
            changed = changed + deviation * rng.standard_normal(plane.shape, np.float32)
        results.append(np.clip(changed, 0, 1).astype(np.float32))
    return results[0], results[1]


def _ragged_edges(board: Grey, rng: np.random.Generator) -> Grey:
    """Edges as etching and thresholding leave them, so that a template is never pixel-exact."""
    noise = rng.standard_normal(board.shape, np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), float(rng.uniform(1.0, 2.5)))
    noise *= float(rng.uniform(0.05, 0.3)) / max(float(noise.std()), 1e-6)
    soft = cv2.GaussianBlur(board.astype(np.float32) / 255, (0, 0), 1.2)
    return np.where(soft + noise.clip(-0.45, 0.45) > 0.5, 255, 0).astype(np.uint8)
