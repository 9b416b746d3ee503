"""Images through the real trunk, once: the arrays that every method fits on.

Decoding, geometry and taps are those of serving, from the same functions.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import FitContext
from xingyue.errors import XingyueError
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning.painting import paint
from xingyue_models import images
from xingyue_models.efficientnet_lite import normalise
from xingyue_models.surface_inspection import geometry as shapes
from xingyue_models.surface_inspection.geometry import Geometry, Window
from xingyue_models.surface_inspection.taps import TapSessions
from xingyue_models.surface_inspection.views import turned

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Seen:
    """One window of one view: ``canvas`` ``(3, S, S)``, each tap ``(C, h, w)``."""

    sample: int
    view: int
    place: Window
    canvas: NDArray[np.float32]
    taps: dict[str, NDArray[np.float32]]
    size: tuple[int, int]
    """Width and height of the view, pixels."""

    @property
    def batch(self) -> dict[str, NDArray[np.float32]]:
        """The taps as a batch of this window alone, ``(1, C, h, w)`` each."""
        return {tap: values[None] for tap, values in self.taps.items()}


@dataclass(frozen=True, slots=True)
class PaintedOver:
    """``kind``: index of what was painted; ``changed`` ``(h, w)`` of the covered
    part of the canvas, see ``painting.Painted``."""

    seen: Seen
    kind: int
    changed: NDArray[np.float32]


class TrunkRunner:
    """The base's trunk for one fit; ``digest`` is what the manifest pins."""

    def __init__(self, context: FitContext) -> None:
        data = context.weights("trunk").read_bytes()
        self.digest = hashlib.sha256(data).hexdigest()
        self._context = context
        self._taps = TapSessions(data, context.runtime.threads, context.runtime.device)

    def windows(
        self,
        samples: Sequence[ImageSample],
        geometry: Geometry,
        taps: Sequence[str],
        *,
        views: int,
        brightness: float = 0.0,
        stage: str = "features",
    ) -> Iterator[Seen]:
        """Every window of every view of every sample, in order; pixels are read once a sample."""
        waiting: list[tuple[int, int, Window, NDArray[np.uint8], tuple[int, int]]] = []
        for laid in self._laid(samples, geometry, views, stage, brightness):
            waiting.append(laid)
            if len(waiting) == _BATCH:
                yield from self._run(waiting, geometry, taps)
                waiting = []
        if waiting:
            yield from self._run(waiting, geometry, taps)
        self._context.progress(stage, len(samples), len(samples))

    def painted_copies(
        self,
        samples: Sequence[ImageSample],
        geometry: Geometry,
        taps: Sequence[str],
        kinds: Sequence[str],
        *,
        views: int,
        copies: float,
        drawing: int = 0,
        stage: str = "painting",
    ) -> Iterator[PaintedOver]:
        """Every window of every view, painted over ``copies`` times, where that is no whole number
        by chance once more; the kinds take turns over all windows. Another ``drawing`` is painted
        by other chance."""
        random = np.random.default_rng((self._context.seed, 19, *([drawing] if drawing else [])))
        turn = itertools.cycle(range(len(kinds)))
        waiting: list[tuple[tuple[Any, ...], int, NDArray[np.float32]]] = []
        for index, view, place, layer, size in self._laid(samples, geometry, views, stage):
            bare = layer[: place.height, : place.width].astype(np.float32)
            for _ in range(int(copies) + int(random.uniform() < copies % 1)):
                kind, own = next(turn), layer.copy()
                over = paint(bare, kinds[kind], random)
                own[: place.height, : place.width] = over.canvas.round()
                waiting.append(((index, view, place, own, size), kind, over.changed))
                if len(waiting) == _BATCH:
                    yield from self._run_painted(waiting, geometry, taps)
                    waiting = []
        if waiting:
            yield from self._run_painted(waiting, geometry, taps)
        self._context.progress(stage, len(samples), len(samples))

    def _laid(
        self,
        samples: Sequence[ImageSample],
        geometry: Geometry,
        views: int,
        stage: str,
        brightness: float = 0.0,
    ) -> Iterator[tuple[int, int, Window, NDArray[np.uint8], tuple[int, int]]]:
        """Sample, view, place, canvas and the view's size, of every window."""
        random = np.random.default_rng((self._context.seed, 11))
        for index, sample in enumerate(samples):
            self._context.check()
            self._context.progress(stage, index, len(samples))
            rgb = read_rgb(sample, geometry)
            for view in range(views):
                seen = turned(rgb, view)
                if view and brightness:
                    seen = relit(seen, brightness, random)
                if geometry.exposure:
                    seen = shapes.expose(seen)
                size = (seen.shape[1], seen.shape[0])
                for place in shapes.windows(*size, geometry):
                    yield index, view, place, shapes.lay(seen, place, geometry.side), size

    def _run_painted(
        self, waiting: Sequence[Any], geometry: Geometry, taps: Sequence[str]
    ) -> Iterator[PaintedOver]:
        found = self._run([entry for entry, _, _ in waiting], geometry, taps)
        for seen, (_, kind, changed) in zip(found, waiting, strict=True):
            yield PaintedOver(seen, kind, changed)

    def _run(
        self, waiting: Sequence[Any], geometry: Geometry, taps: Sequence[str]
    ) -> Iterator[Seen]:
        self._context.check()
        canvas = normalise(np.stack([layer for *_, layer, _ in waiting]))
        found = self._taps.run_windows(canvas, [each[2] for each in waiting], geometry, taps)
        for row, (index, view, place, _, size) in enumerate(waiting):
            own = {tap: values[row] for tap, values in found.items()}
            yield Seen(index, view, place, canvas[row], own, size)

    def close(self) -> None:
        self._taps.close()


def read_rgb(sample: ImageSample, geometry: Geometry) -> NDArray[np.uint8]:
    """Decoded as a call without heat map is; an error names the file."""
    try:
        return images.decode(sample.path.read_bytes(), target_side=geometry.longest).rgb
    except XingyueError as error:
        error.message = f"{sample.name}: {error.message}"
        raise


def relit(
    rgb: NDArray[np.uint8], brightness: float, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Another exposure: contrast and brightness changed by up to ``brightness`` of the range."""
    gain = float(np.exp(random.uniform(-2, 2) * brightness))
    shift = float(random.uniform(-255, 255) * brightness)
    table = np.clip((np.arange(256) - 127.5) * gain + 127.5 + shift, 0, 255)
    return np.asarray(table.round().astype(np.uint8)[rgb], np.uint8)
