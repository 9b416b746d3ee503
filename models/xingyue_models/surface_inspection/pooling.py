"""From trunk taps to one row of numbers per image, and back to where the evidence lies.

For each tap and channel, over the cells that the image covers (padding left out): mean, standard
deviation and maximum. Then the texture of fine taps: the covariance of every two channels, as the
square root of its size with its sign (after Lin et al., "Bilinear CNNs", 2015). Then, where asked
for, 17 numbers of the picture itself: mean, deviation and the 5th, 50th and 95th percentile of each
colour channel, and the logarithms of its width and height in pixels. Training and serving share
this file, so both see equal numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest
from xingyue_models.efficientnet_lite import TAP_CHANNELS, TAP_STRIDES
from xingyue_models.surface_inspection.geometry import Window

PICTURE_NUMBERS = 17
TEXTURE_TAPS = ("f4", "f8", "f16")
_STRIDE = 4
"""Every fourth pixel is enough for the statistics of colours."""
_VARIANCE_MIN = 1e-12


@dataclass(frozen=True, slots=True)
class Pooling:
    """``taps`` are pooled, ``texture`` are those whose covariance is taken."""

    taps: tuple[str, ...] = ("f8", "f16", "f32")
    texture: tuple[str, ...] = ()
    picture: bool = True

    @classmethod
    def from_manifest(cls, manifest: Mapping[str, Any]) -> Pooling:
        """Read ``manifest["features"]``; ``InvalidRequest`` names the key that is wrong."""
        raw = manifest.get("features")
        if not isinstance(raw, Mapping):
            raise InvalidRequest("the head manifest lacks the object 'features'", param="features")
        picture = raw.get("picture", False)
        if not isinstance(picture, bool):
            raise InvalidRequest("features.picture must be true or false", param="features.picture")
        texture = tap_names(raw, "texture", TEXTURE_TAPS) if raw.get("texture") else ()
        pooled = raw.get("taps") or not texture
        taps = tap_names(raw, "taps", TAP_STRIDES) if pooled else ()
        return cls(taps, texture, picture)

    def to_manifest(self) -> dict[str, Any]:
        return {
            "taps": list(self.taps),
            "texture": list(self.texture),
            "picture": self.picture,
        }

    @property
    def read(self) -> tuple[str, ...]:
        """Every tap that is looked at."""
        return tuple(dict.fromkeys((*self.taps, *self.texture)))

    @property
    def width(self) -> int:
        """Numbers per image."""
        own = PICTURE_NUMBERS if self.picture else 0
        return self.pooled_width + self.texture_width + own

    @property
    def pooled_width(self) -> int:
        return 3 * sum(TAP_CHANNELS[tap] for tap in self.taps)

    @property
    def texture_width(self) -> int:
        return sum(TAP_CHANNELS[tap] * (TAP_CHANNELS[tap] + 1) // 2 for tap in self.texture)

    def pool(
        self,
        canvas: NDArray[np.float32],
        taps: Mapping[str, NDArray[np.float32]],
        places: Sequence[Window],
    ) -> NDArray[np.float32]:
        """``canvas`` ``(N, 3, S, S)``, ``taps`` of the same N -> ``(N, width)``."""
        side = canvas.shape[-1]
        rows = np.empty((len(places), self.width), np.float32)
        for index, place in enumerate(places):
            start = 0
            for tap in self.taps:
                cells = covered_cells(taps[tap][index], place, side)
                channels = len(cells)
                mean = cells.mean(axis=1)
                # E[x^2] - E[x]^2 needs one pass less than np.std, which matters at this size.
                square = np.einsum("ij,ij->i", cells, cells) / cells.shape[1]
                parts = rows[index, start : start + 3 * channels].reshape(3, channels)
                parts[0] = mean
                parts[1] = np.sqrt(np.maximum(square - mean * mean, 0))
                parts[2] = cells.max(axis=1)
                start += 3 * channels
            for tap in self.texture:
                found = _texture(covered_cells(taps[tap][index], place, side))
                rows[index, start : start + len(found)] = found
                start += len(found)
            if self.picture:
                rows[index, start:] = _picture_numbers(canvas[index], place)
        return rows

    def evidence(
        self,
        weights: NDArray[np.float32],
        taps: Mapping[str, NDArray[np.float32]],
        place: Window,
        side: int,
    ) -> NDArray[np.float32]:
        """Where ``weights . row`` comes from: ``(h, w)`` over the canvas, on the finest tap's grid.

        ``weights`` ``(width,)``, ``taps`` each ``(C, h, w)``. A mean is the sum of its cells, a
        deviation that of their squared distances over itself, likewise a covariance; a maximum
        belongs to its one cell. So before it is laid on one grid, the map adds up to the sum, the
        picture's numbers left out.
        """
        finest = max(taps[tap].shape[-1] for tap in self.read)
        joined = np.zeros((finest, finest), np.float32)
        start = 0
        for tap in self.taps:
            cells = covered_cells(taps[tap], place, side)
            stop = start + 3 * len(cells)
            flat = _pooled_evidence(weights[start:stop].reshape(3, -1), cells)
            joined += _laid(flat, taps[tap].shape[-2:], place, side, joined.shape)
            start = stop
        for tap in self.texture:
            cells = covered_cells(taps[tap], place, side)
            stop = start + len(cells) * (len(cells) + 1) // 2
            flat = _texture_evidence(weights[start:stop], cells)
            joined += _laid(flat, taps[tap].shape[-2:], place, side, joined.shape)
            start = stop
        return joined


def _pooled_evidence(
    weights: NDArray[np.float32], cells: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``weights`` ``(3, C)`` of mean, deviation, maximum; ``(cells,)`` that add up to the sum."""
    mean_w, std_w, max_w = weights
    count = cells.shape[1]
    centred = cells - cells.mean(axis=1, keepdims=True)
    deviation = np.sqrt(np.maximum((centred**2).mean(axis=1), _VARIANCE_MIN))
    flat = (mean_w / count) @ cells + (std_w / (count * deviation)) @ centred**2
    peaks = cells.argmax(axis=1)
    np.add.at(flat, peaks, max_w * cells[np.arange(len(cells)), peaks])
    return np.asarray(flat, np.float32)


def _texture_evidence(
    weights: NDArray[np.float32], cells: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The root of a covariance with its sign is the covariance over its root: a sum over cells."""
    centred = cells - cells.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / np.float32(cells.shape[1])
    pairs = np.triu_indices(len(cells))
    form = np.zeros_like(covariance)
    form[pairs] = weights / np.sqrt(np.maximum(np.abs(covariance[pairs]), _VARIANCE_MIN))
    return np.asarray(((form @ centred) * centred).sum(axis=0) / cells.shape[1], np.float32)


def _laid(
    flat: NDArray[np.float32],
    grid: tuple[int, ...],
    place: Window,
    side: int,
    shape: tuple[int, ...],
) -> NDArray[np.float32]:
    """Evidence of the covered cells of a tap's ``grid``, spread over a finer map of ``shape``."""
    whole = np.zeros(grid, np.float32)
    rows, columns = covered_shape(grid, place, side)
    whole[:rows, :columns] = flat.reshape(rows, columns)
    share = (grid[0] / shape[0]) ** 2
    size = (shape[1], shape[0])
    return np.asarray(share * cv2.resize(whole, size, interpolation=cv2.INTER_LINEAR), np.float32)


def covered_shape(shape: tuple[int, ...], place: Window, side: int) -> tuple[int, int]:
    """Rows and columns of a ``(h, w)`` map that the window covers, at least one of each."""
    height, width = shape[-2:]
    return (
        max(1, round(place.height * height / side)),
        max(1, round(place.width * width / side)),
    )


def covered_cells(tap: NDArray[np.float32], place: Window, side: int) -> NDArray[np.float32]:
    """``(C, h, w)`` -> ``(C, cells)`` of the cells that the window covers."""
    rows, columns = covered_shape(tap.shape, place, side)
    return np.ascontiguousarray(tap[:, :rows, :columns]).reshape(len(tap), -1)


def tap_names(raw: Mapping[str, Any], key: str, known: Iterable[str]) -> tuple[str, ...]:
    """``raw[key]``, a list of different taps; ``InvalidRequest`` names the key and what it may
    hold."""
    names, allowed = raw.get(key), tuple(known)
    if (
        not isinstance(names, list)
        or not names
        or any(name not in allowed for name in names)
        or len(set(names)) != len(names)
    ):
        raise InvalidRequest(
            f"features.{key} must name different taps out of {', '.join(allowed)}",
            param=f"features.{key}",
        )
    return tuple(names)


def _texture(cells: NDArray[np.float32]) -> NDArray[np.float32]:
    """``(C, cells)`` -> ``(C * (C + 1) / 2,)``."""
    centred = cells - cells.mean(axis=1, keepdims=True)
    covariance = centred @ centred.T / np.float32(cells.shape[1])
    upper = covariance[np.triu_indices(len(cells))]
    return np.asarray(np.sign(upper) * np.sqrt(np.abs(upper)), np.float32)


def _picture_numbers(canvas: NDArray[np.float32], place: Window) -> NDArray[np.float32]:
    pixels = canvas[:, : place.height : _STRIDE, : place.width : _STRIDE].reshape(3, -1)
    ordered = np.sort(pixels, axis=1)
    last = ordered.shape[1] - 1
    size = np.log([place.x1 - place.x0, place.y1 - place.y0])
    levels = [ordered[:, round(share * last)] for share in (0.05, 0.5, 0.95)]
    return np.concatenate([pixels.mean(axis=1), pixels.std(axis=1), *levels, size])
