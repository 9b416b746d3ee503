"""Looking at image files once each: bytes hashed, pixels decoded whole, a fingerprint taken."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest, PayloadTooLarge
from xingyue_models.images import ImageLimits, decode

LIMITS = ImageLimits()
_FINGERPRINT_SIDE = 16
_SIDE_MIN = 32
_CONTRAST_MIN = 4.0
"""Grey levels of standard deviation below which a picture's gradients are noise."""


@dataclass(frozen=True, slots=True)
class Picture:
    """Pixels as stored; ``fingerprint`` as in ``ImageSample``."""

    width: int
    height: int
    sha256: str
    fingerprint: int | None


@dataclass(frozen=True, slots=True)
class Fault:
    """``refused``: beyond a stated limit, rather than damaged."""

    reason: str
    refused: bool


class Pictures:
    """A cache of looks. Not shared between threads."""

    def __init__(self, limits: ImageLimits = LIMITS) -> None:
        self._limits = limits
        self._seen: dict[Path, Picture | Fault] = {}

    def look(self, path: Path) -> Picture | Fault:
        if path not in self._seen:
            self._seen[path] = _look(path, self._limits)
        return self._seen[path]

    def size(self, path: Path) -> tuple[int, int] | None:
        """Width and height; None if the file can't be read."""
        seen = self.look(path)
        return (seen.width, seen.height) if isinstance(seen, Picture) else None

    def hashes(self) -> dict[Path, str]:
        return {p: seen.sha256 for p, seen in self._seen.items() if isinstance(seen, Picture)}


def _look(path: Path, limits: ImageLimits) -> Picture | Fault:
    if path.stat().st_size > limits.bytes_max:
        return Fault(f"has more than {limits.bytes_max >> 20} MiB", refused=True)
    data = path.read_bytes()
    try:
        decoded = decode(data, limits=limits, target_side=256, param=path.name)
    except PayloadTooLarge as error:
        return Fault(error.message.removeprefix("the image "), refused=True)
    except InvalidRequest as error:
        return Fault(_short(error.message), refused=False)
    sha256 = hashlib.sha256(data).hexdigest()
    return Picture(decoded.width, decoded.height, sha256, fingerprint(decoded.rgb))


def _short(message: str) -> str:
    return message.partition(";")[0].removeprefix("the image ").removeprefix("the ")


def fingerprint(rgb: NDArray[np.uint8]) -> int | None:
    """256 bits: is each cell of a 17x16 grid brighter than its right neighbour?

    Equal for a picture and its re-compressed or resized copy, save for a few bits.
    """
    if min(rgb.shape[:2]) < _SIDE_MIN:
        return None
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    side = _FINGERPRINT_SIDE
    small = cv2.resize(grey, (side + 1, side), interpolation=cv2.INTER_AREA).astype(np.float32)
    if float(small.std()) < _CONTRAST_MIN:
        return None
    bits = small[:, 1:] > small[:, :-1]
    return int.from_bytes(np.packbits(bits).tobytes())
