"""What an ``inspect`` item may ask, and its pictures as the network's planes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.contract import WorkItem
from xingyue.errors import InvalidRequest
from xingyue_models import images
from xingyue_models.template_detection.inputs import Plane, normalise_grey, stack_planes

OPS = frozenset({"inspect"})
SIDE_MAX = 1280
_MULTIPLE = 16
_ASPECT_TOLERANCE = 0.02
_SHIFT_MAX = 24.0


@dataclass(frozen=True, slots=True)
class Board:
    """``planes`` (6, h, w), padded; ``scale`` from the image as sent to the planes."""

    image: images.Decoded
    planes: Plane
    scale: float
    threshold: float | None
    score_min: float | None
    heatmap: bool


def read_board(item: WorkItem, limits: images.ImageLimits) -> Board:
    """Decode, bring to a working size, register the template. Errors name the field."""
    if item.op not in OPS:
        raise InvalidRequest(f"template detection answers inspect, not {item.op!r}", param="op")
    if "image" not in item.payload:
        raise InvalidRequest("send the image as the part 'image'", param="image")
    image = images.decode(item.payload["image"], limits=limits)
    scale = min(1.0, SIDE_MAX / max(image.width, image.height))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    plane = _plane(image.rgb, size)
    template = None
    if "template" in item.payload:
        sample = images.decode(item.payload["template"], limits=limits, param="template")
        ratio = (sample.width / sample.height) / (image.width / image.height)
        if abs(ratio - 1) > _ASPECT_TOLERANCE:
            raise InvalidRequest(
                f"the template is {sample.width}x{sample.height}, the image "
                f"{image.width}x{image.height}; send a template of the same proportions",
                param="template",
            )
        template = _register(_plane(sample.rgb, size), plane)
    planes = stack_planes(plane, template)
    height, width = planes.shape[1:]
    padding = ((0, 0), (0, -height % _MULTIPLE), (0, -width % _MULTIPLE))
    return Board(
        image,
        np.pad(planes, padding, mode="edge"),
        scale,
        _fraction(item, "threshold"),
        _fraction(item, "score_min"),
        bool(item.params.get("heatmap", False)),
    )


def _plane(rgb: NDArray[np.uint8], size: tuple[int, int]) -> Plane:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    if (grey.shape[1], grey.shape[0]) != size:
        grey = cv2.resize(grey, size, interpolation=cv2.INTER_AREA)
    return normalise_grey(np.asarray(grey, np.uint8))


def _register(template: Plane, image: Plane) -> Plane:
    """Shift the template onto the image by phase correlation, if that brings them closer.

    Where the shifted template has no pixels the image's own stand in: nothing differs there.
    """
    (x, y), _ = cv2.phaseCorrelate(template, image)
    if max(abs(x), abs(y)) < 0.5 or max(abs(x), abs(y)) > _SHIFT_MAX:
        return template
    move = np.array([[1, 0, round(x)], [0, 1, round(y)]], np.float32)
    size = (template.shape[1], template.shape[0])
    moved = image.copy()
    cv2.warpAffine(template, move, size, dst=moved, borderMode=cv2.BORDER_TRANSPARENT)
    closer = np.abs(moved - image).mean() < np.abs(template - image).mean()
    return np.asarray(moved if closer else template, np.float32)


def _fraction(item: WorkItem, name: str) -> float | None:
    value = item.params.get(name)
    if value is None:
        return None
    if type(value) not in (int, float) or not math.isfinite(value) or not 0 <= value <= 1:
        raise InvalidRequest(f"{name} must lie in [0, 1]", param=name)
    return float(value)
