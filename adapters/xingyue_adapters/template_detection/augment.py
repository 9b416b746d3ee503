"""Training samples: crops of real boards and of defect-free ones, most of them with more defects
painted on, mostly as an AOI machine sees them and sometimes as a camera does.

A sample is the (6, size, size) float32 input of the trunk (see
``xingyue_models.template_detection.inputs``) with its boxes in pixels of the crop and its labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.template_detection.photograph import photograph, ragged_edges
from xingyue_adapters.template_detection.synthesis import paint_defects
from xingyue_models.template_detection.inputs import Plane, stack_planes

Grey = NDArray[np.uint8]

_MARGIN = 10
"""Pixels that DeepPCB's boxes leave around a defect, whatever its size."""


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

    size: int = 256
    board_share: float = 0.2
    """Defect-free boards; the rest are real pairs."""
    painted_share: float = 0.6
    painted_max: int = 5
    on_defect_share: float = 0.6
    """Crops that are laid over a marked defect; the rest lie anywhere."""
    accepted_share: float = 0.06
    """Templates that show the very defects of the image: nothing differs, none is to be found."""
    no_template_share: float = 0.2
    rescale_share: float = 0.5
    scale_min: float = 0.7
    scale_max: float = 1.7
    misalign_share: float = 0.4
    shift_max_px: float = 2.5
    rotation_deviation_deg: float = 0.2
    photo_share: float = 0.2


@dataclass(frozen=True, slots=True)
class Sample:
    planes: Plane
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def make_sample(
    example: Example, board: Grey, settings: AugmentSettings, rng: np.random.Generator
) -> Sample:
    """One sample of ``example``, or of the defect-free ``board``."""
    bare = rng.random() < settings.board_share
    if bare:
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
        example = Example(board, board, *nothing)
    rescaled = rng.random() < settings.rescale_share
    scale = float(rng.uniform(settings.scale_min, settings.scale_max)) if rescaled else 1.0
    part = _cut(example, round(settings.size / scale), settings, rng)
    if rng.random() < settings.painted_share:
        part = _paint(part, int(rng.integers(1, settings.painted_max + 1)), rng)
    accepted = rng.random() < settings.accepted_share
    if accepted:
        part = Example(part.image, part.image, part.boxes[:0], part.labels[:0])
    if (bare or accepted) and rng.random() < 0.7:
        part = Example(ragged_edges(part.image, rng), part.template, part.boxes, part.labels)
    image, template, boxes = _resize(part, settings, rng)
    image, template, boxes = _turn(image, template, boxes, rng)
    if rng.random() < settings.photo_share:
        image, template = photograph(image, template, rng)
    hidden = not accepted and rng.random() < settings.no_template_share
    return Sample(stack_planes(image, None if hidden else template), boxes, part.labels)


def _cut(
    example: Example, side: int, settings: AugmentSettings, rng: np.random.Generator
) -> Example:
    """A square of the pair; boxes of which half is seen, clipped to it."""
    height, width = example.image.shape
    side = min(side, height, width)
    corner = rng.integers(0, (width - side + 1, height - side + 1))
    if len(example.boxes) and rng.random() < settings.on_defect_share:
        box = example.boxes[int(rng.integers(len(example.boxes)))]
        centre = (box[:2] + box[2:]) / 2
        corner = np.rint(centre - side * rng.uniform(0.15, 0.85, 2)).astype(int)
        corner = corner.clip(0, (width - side, height - side))
    left, top = (int(value) for value in corner)
    window = np.s_[top : top + side, left : left + side]
    boxes = example.boxes - np.array([left, top, left, top], np.float32)
    clipped = boxes.clip(0, side)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    seen = (clipped[:, 2] - clipped[:, 0]) * (clipped[:, 3] - clipped[:, 1])
    kept = seen >= 0.5 * area
    return Example(
        example.image[window], example.template[window], clipped[kept], example.labels[kept]
    )


def _paint(part: Example, count: int, rng: np.random.Generator) -> Example:
    painted, boxes, labels = paint_defects(part.image, count, rng, part.boxes)
    return Example(
        painted,
        part.template,
        np.concatenate([part.boxes, boxes]),
        np.concatenate([part.labels, labels]),
    )


def _resize(
    part: Example, settings: AugmentSettings, rng: np.random.Generator
) -> tuple[Plane, Plane, NDArray[np.float32]]:
    """Both at the sample's size; the template a little off, as registration leaves it."""
    size = settings.size
    scale = size / part.image.shape[0]
    image, template = part.image, part.template
    if image.shape[0] != size:
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        image = np.asarray(cv2.resize(image, (size, size), interpolation=way), np.uint8)
        template = np.asarray(cv2.resize(template, (size, size), interpolation=way), np.uint8)
    if rng.random() < settings.misalign_share:
        angle = float(rng.normal(0, settings.rotation_deviation_deg))
        move = cv2.getRotationMatrix2D((size / 2, size / 2), angle, 1.0)
        move[:, 2] += rng.uniform(-settings.shift_max_px, settings.shift_max_px, 2)  # type: ignore[arg-type]
        # Where the template has no pixels the image's own stand in, as in serving.
        moved = image.copy()
        cv2.warpAffine(
            template,
            move,
            (size, size),
            dst=moved,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_TRANSPARENT,
        )
        template = moved
    if rng.random() < 0.7:
        # Binarised again, as the boards of an AOI machine are.
        image, template = (np.where(p > 127, 255, 0).astype(np.uint8) for p in (image, template))
    planes = [np.asarray(picture / np.float32(255), np.float32) for picture in (image, template)]
    return planes[0], planes[1], _scale_boxes(part.boxes, scale, size)


def _scale_boxes(boxes: NDArray[np.float32], scale: float, size: int) -> NDArray[np.float32]:
    """Boxes at the sample's size, the margin around the defect as wide in pixels as before.

    A side that the crop's rim cut off stays on the rim.
    """
    inset = _MARGIN * (scale - 1) * np.array([1, 1, -1, -1], np.float32)
    scaled = boxes * np.float32(scale)
    on_rim = (scaled <= 0) | (scaled >= size - 0.5)
    return np.where(on_rim, scaled, (scaled + inset).clip(0, size)).astype(np.float32)


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
