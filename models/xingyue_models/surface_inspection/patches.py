"""Patch features: what the trunk sees around each cell of a grid, taps joined channel by channel.

Every tap is smoothed over 3x3 cells, so that a patch knows its neighbours, and brought to the grid
of one tap: coarser ones by bilinear enlargement, finer ones by averaging. Training and serving
share this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_models.efficientnet_lite import TAP_CHANNELS, TAP_STRIDES
from xingyue_models.surface_inspection.pooling import tap_names


@dataclass(frozen=True, slots=True)
class PatchGrid:
    """``grid`` is the tap, one of ``taps``, whose cells are the patches."""

    taps: tuple[str, ...] = ("f8", "f16")
    grid: str = "f8"
    smooth: bool = True

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> PatchGrid:
        """Read ``manifest["features"]``; ``InvalidRequest`` names the key that is wrong."""
        raw = manifest.get("features")
        if not isinstance(raw, Mapping):
            raise InvalidRequest("the head manifest lacks the object 'features'", param="features")
        taps = tap_names(raw, "taps", TAP_STRIDES)
        grid, smooth = raw.get("grid"), raw.get("smooth", True)
        if grid not in taps:
            raise InvalidRequest(
                f"features.grid must be one of features.taps, got {grid!r}", param="features.grid"
            )
        if not isinstance(smooth, bool):
            raise InvalidRequest("features.smooth must be true or false", param="features.smooth")
        return cls(taps, str(grid), smooth)

    def to_manifest(self) -> dict[str, Any]:
        return {"taps": list(self.taps), "grid": self.grid, "smooth": self.smooth}

    @property
    def width(self) -> int:
        return sum(TAP_CHANNELS[tap] for tap in self.taps)

    def of(self, taps: Mapping[str, NDArray[np.float32]], index: int) -> NDArray[np.float32]:
        """Patches of image ``index``: ``(h, w, width)``; ``taps`` each ``(N, C, h', w')``."""
        height, width = taps[self.grid].shape[-2:]
        parts = []
        for tap in self.taps:
            values = np.ascontiguousarray(taps[tap][index].transpose(1, 2, 0))
            if self.smooth:
                values = cv2.blur(values, (3, 3), borderType=cv2.BORDER_REPLICATE)
            if values.shape[0] != height:
                finer = values.shape[0] > height
                mode = cv2.INTER_AREA if finer else cv2.INTER_LINEAR
                values = cv2.resize(values, (width, height), interpolation=mode)
            parts.append(values)
        return np.concatenate(parts, axis=2)
