"""Method ``one-class``: a memory bank or a Gaussian of good patches; no defect is needed. The
network that joins the bank by default is ``painted_fit``'s."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.hyperparameters import AUTO
from xingyue_adapters.surface_tuning.features import TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import OneClass
from xingyue_models import images
from xingyue_models.surface_inspection.gaussian import Gaussian
from xingyue_models.surface_inspection.geometry import Geometry, Window
from xingyue_models.surface_inspection.memory_bank import MemoryBank
from xingyue_models.surface_inspection.patch_head import (
    Detector,
    distance_map,
    strongest_mean,
)
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.pooling import covered_shape

CANDIDATES_MAX = 20_000
"""Patches that the coreset is chosen from; more only takes longer."""
PATCH_BYTES_MAX = 4 << 30
"""Of all good images, or of all held out; some 5,700 windows of 512 pixels."""
_GAUSSIAN_PATCHES_MAX = 60_000
_VIEWED = 160
"""Good parts and mirrored views of them, together, where the number of views is not given."""
_SPREAD_MAX = 2.0
_LIGHT_SAMPLES_MAX = 64
_LIGHT_SIDE = 256
JOINT = "joint"
COARSE = "f16"
Patches = NDArray[np.float32]
Check = Callable[[], None]
Divide = Callable[[int], Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]]
"""Good parts into so many folds: indices fitted on, and left out."""


@dataclass(frozen=True, slots=True)
class View:
    """Patches ``(h, w, C)``, float16, of one window of one image, and the taps beyond them that
    only the network sees, as coarse as they come ``(h', w', C')``."""

    sample: int
    view: int
    place: Window
    patches: NDArray[np.float16]
    coarse: NDArray[np.float16] | None = None

    def covered(self, side: int) -> Patches:
        """``(cells, C)``: what the bank is made of."""
        rows, columns = covered_shape(self.patches.shape[:2], self.place, side)
        own = self.patches[:rows, :columns]
        return own.reshape(rows * columns, -1).astype(np.float32)

    def whole(self) -> Patches:
        """``(h, w, C + C')``, as a head sees it."""
        patches = self.patches.astype(np.float32)
        if self.coarse is None:
            return patches
        size = patches.shape[1::-1]
        coarse = cv2.resize(self.coarse.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        return np.concatenate([patches, coarse], axis=2)


def geometry_of(good: Sequence[ImageSample], settings: OneClass, check: Check) -> Geometry:
    """Grey levels are stretched where asked for, or where the good parts are lit differently: then
    a dim one is no anomaly. Where they are lit alike, their contrast tells good from bad."""
    stretch = settings.exposure == "stretched"
    if settings.exposure == AUTO:
        stretch = contrast_spread(good, check) > _SPREAD_MAX
    return Geometry(settings.side, settings.windows_max, exposure=stretch, tight=True, tiled=True)


def contrast_spread(samples: Sequence[ImageSample], check: Check) -> float:
    """How many times the range of grey levels (1 % .. 99 %) of the most contrasted photos is that
    of the least; a tenth of the photos at either end left out."""
    ranges = []
    for sample in samples[:: math.ceil(len(samples) / _LIGHT_SAMPLES_MAX)]:
        check()
        rgb = images.decode(sample.path.read_bytes(), target_side=_LIGHT_SIDE).rgb
        low, high = np.percentile(rgb[::2, ::2], (1, 99))
        ranges.append(max(float(high - low), 1.0))
    low, high = np.percentile(ranges, (10, 90))
    return float(high / low)


def views_of(settings: OneClass, parts: int) -> int:
    """Where good parts are few, what was seen of them is stretched by mirroring."""
    return settings.views or next((v for v in (4, 2) if v * parts <= _VIEWED), 1)


def bank_grid(settings: OneClass) -> PatchGrid:
    """Fine patches are not smoothed: a crack is two cells wide, and drowns in its neighbours."""
    if settings.patches == "fine":
        return PatchGrid(("f4", "f8"), "f8", smooth=False)
    return PatchGrid(("f8", "f16"), "f8")


def grid_of(settings: OneClass) -> PatchGrid:
    """What the head reads: the bank's taps, then f16 for the network."""
    own = bank_grid(settings)
    if settings.detector != JOINT or COARSE in own.taps:
        return own
    return dataclasses.replace(own, taps=(*own.taps, COARSE))


def patch_views(
    runner: TrunkRunner,
    samples: Sequence[ImageSample],
    settings: OneClass,
    geometry: Geometry,
    *,
    views: int,
) -> list[View]:
    """``InvalidRequest`` where all of them together are more than ``PATCH_BYTES_MAX``."""
    grid, own, found, taken = grid_of(settings), bank_grid(settings), list[View](), 0
    for seen in runner.windows(samples, geometry, grid.taps, views=views):
        patches, coarse = own.of(seen.batch, 0).astype(np.float16), None
        taken += patches.nbytes
        if grid != own:
            coarse = seen.taps[COARSE].transpose(1, 2, 0).astype(np.float16)
            taken += coarse.nbytes
        if taken > PATCH_BYTES_MAX:
            raise InvalidRequest(
                f"{len(samples)} images of this size are more than one-class keeps in memory "
                f"({PATCH_BYTES_MAX >> 30} GiB of patches, {len(found)} views so far); send fewer "
                "good images (a few hundred are plenty), or lower side or windows_max",
                code="too_many_images",
                param="data",
            )
        found.append(View(seen.sample, seen.view, seen.place, patches, coarse))
    return found


@dataclass(frozen=True, slots=True)
class Fitted:
    """A detector and the arrays that it is stored as."""

    detector: Detector
    tensors: Mapping[str, NDArray[Any]]


def fit(views: Sequence[View], settings: OneClass, seed: int, check: Check) -> Fitted:
    """A detector of what the given views of good parts look like; deterministic for a seed."""
    random = np.random.default_rng((seed, 5))
    most = _GAUSSIAN_PATCHES_MAX if settings.detector == "gaussian" else CANDIDATES_MAX
    each = max(16, most // max(1, len(views)))
    drawn = []
    for view in views:
        patches = view.covered(settings.side)
        drawn.append(patches[random.permutation(len(patches))[:each]])
    patches = np.concatenate(drawn)
    return (
        _gaussian(patches)
        if settings.detector == "gaussian"
        else _bank(patches, settings, random, check)
    )


def _gaussian(patches: Patches) -> Fitted:
    """Whitening by the covariance, shrunk after Ledoit and Wolf."""
    mean = patches.mean(axis=0, dtype=np.float64)
    covariance, _ = ledoit_wolf(patches.astype(np.float64) - mean, assume_centered=True)
    values, vectors = np.linalg.eigh(covariance)
    whitening = (vectors / np.sqrt(np.maximum(values, 1e-9))).astype(np.float32)
    offset = (mean @ whitening).astype(np.float32)
    tensors = {"whitening": whitening, "offset": offset}
    return Fitted(Gaussian(whitening, offset), tensors)


def _bank(
    patches: Patches, settings: OneClass, random: np.random.Generator, check: Check
) -> Fitted:
    deviation = np.maximum(patches.std(axis=0), 1e-4)
    wide = patches.shape[1]
    dimensions = min(settings.dimensions, wide)
    # Orthogonal rows: distances are kept as well as a projection to so few numbers can.
    basis, _ = np.linalg.qr(random.normal(size=(wide, dimensions)))
    projection = (basis * math.sqrt(wide / dimensions) / deviation[:, None]).astype(np.float16)
    wide_projection = projection.astype(np.float32)
    offset = (patches.mean(axis=0) @ wide_projection).astype(np.float16)
    known = patches @ wide_projection - offset.astype(np.float32)
    bank = known[coreset(known, settings.bank, check)].astype(np.float16)
    detector = MemoryBank(
        wide_projection, offset.astype(np.float32), bank.astype(np.float32), settings.neighbours
    )
    return Fitted(detector, {"projection": projection, "offset": offset, "bank": bank})


def coreset(points: Patches, count: int, check: Check) -> NDArray[np.intp]:
    """Greedy k-centre: each next point is the one farthest from all chosen; first the one nearest
    to the mean."""
    count = min(count, len(points))
    squares = np.einsum("ij,ij->i", points, points)
    chosen = np.empty(count, np.intp)
    chosen[0] = int(((points - points.mean(axis=0)) ** 2).sum(axis=1).argmin())
    nearest = np.full(len(points), np.inf, np.float32)
    for index in range(1, count):
        if index % 64 == 0:
            check()
        last = chosen[index - 1]
        distance = squares + squares[last] - 2 * (points @ points[last])
        np.minimum(nearest, distance, out=nearest)
        chosen[index] = int(nearest.argmax())
    return chosen


class Fitter(Protocol):
    """Fits detectors on ``views`` of good parts; ``unseen`` is called before ``fit``."""

    def unseen(self, divide: Divide) -> NDArray[np.float64]:
        """``(count,)``: distance of each good part, by a detector that was fitted on others."""
        ...

    def fit(self, known: set[int] | None = None, more: Sequence[View] = ()) -> Fitted:
        """On all parts or those ``known``, and on ``more``."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """Fits a bank or a Gaussian alone, on ``views`` of ``count`` good parts."""

    views: Sequence[View]
    count: int
    settings: OneClass
    seed: int
    check: Check
    tick: Callable[[int, int], None]

    def unseen(self, divide: Divide) -> NDArray[np.float64]:
        found, folds = np.zeros(self.count), divide(self.settings.folds)
        for step, (fitted, left) in enumerate(folds):
            self.tick(step, len(folds))
            new, detector = set(left.tolist()), self.fit(set(fitted.tolist())).detector
            seen = [v for v in self.views if v.sample in new]
            distances = image_distances(detector, seen, self.count, self.settings, self.check)
            found[left] = distances[left]
        return found

    def fit(self, known: set[int] | None = None, more: Sequence[View] = ()) -> Fitted:
        views = [v for v in self.views if known is None or v.sample in known]
        return fit([*views, *more], self.settings, self.seed, self.check)


def image_distances(
    detector: Detector, views: Sequence[View], count: int, settings: OneClass, check: Check
) -> NDArray[np.float64]:
    """``(count,)``: the mean of each sample's ``strongest`` cells in the worst window of its view
    0; 0 for a sample that has no view."""
    found = np.zeros(count)
    for view in views:
        if view.view == 0:
            check()
            distances = distance_map(detector, view.whole(), view.place, settings.side)
            own = strongest_mean(distances, settings.strongest)
            found[view.sample] = max(found[view.sample], own)
    return found
