"""The detector ``joint`` of ``one-class``: a memory bank, and beside it a thin network that was
taught to tell defects painted over good parts, kind by kind, from good surface.

No photographed defect is fitted on, and none settles how much bank and network count: the evidence
of each is measured in deviations of good parts that it has not seen, then added up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning import cell_network, one_class
from xingyue_adapters.surface_tuning.cells import Labelled, drawn_good, drawn_painted
from xingyue_adapters.surface_tuning.features import TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import OneClass, Segmentation
from xingyue_adapters.surface_tuning.one_class import Divide, Fitted, Plain, View
from xingyue_adapters.surface_tuning.painting import KINDS
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.memory_and_painted import (
    MemoryAndPainted,
    joined,
    log_odds,
)
from xingyue_models.surface_inspection.memory_bank import MemoryBank
from xingyue_models.surface_inspection.patch_head import Detector, smoothed, strongest_mean
from xingyue_models.surface_inspection.pooling import covered_shape

COPIES_MAX = 2.0
"""Painted copies of one window."""
_GOOD_CELLS, _GOOD_CELLS_MAX = 300, 60_000
"""Cells drawn of a window as it is, and of all of them."""
_PAINTED_CELLS = 150
"""Cells drawn of a painted window, on the paint."""
_HIDDEN = 64
_FOLDS = 3
_HALF_MAX = 6e4
_DISTANCE_SPREAD_MIN, _LOG_ODDS_SPREAD_MIN = 0.02, 0.2
"""Least deviation of unseen good parts that is believed: a few may agree by chance."""
Check = Callable[[], None]
Tick = Callable[[int, int], None]
Values = NDArray[np.float32]
Network = dict[str, Values]


def painted_cells(
    runner: TrunkRunner,
    good: Sequence[ImageSample],
    seen: Sequence[View],
    settings: OneClass,
    geometry: Geometry,
    seed: int,
) -> list[Labelled]:
    """Cells of painted copies of the windows in ``seen``: 1 + kind on the paint, 0 well off it."""
    grid, random = one_class.grid_of(settings), np.random.default_rng((seed, 23))
    copies = min(COPIES_MAX, settings.painted / len(seen))
    views = 1 + max(view.view for view in seen)
    painted = runner.painted_copies(good, geometry, grid.taps, KINDS, views=views, copies=copies)
    return [drawn_painted(over, grid, geometry.side, _PAINTED_CELLS, random) for over in painted]


def good_cells(
    views: Sequence[View], each: int, side: int, seed: int, check: Check
) -> list[Labelled]:
    random, found = np.random.default_rng((seed, 29)), []
    for view in views:
        check()
        found.append(drawn_good(view.sample, view.view, _covered(view, side), each, random))
    return found


def _covered(view: View, side: int) -> NDArray[np.float32]:
    rows, columns = covered_shape(view.patches.shape[:2], view.place, side)
    return view.whole()[:rows, :columns].reshape(rows * columns, -1)


def _distances(bank: Detector, side: int, view: View) -> Values:
    return bank.distance(view.covered(side))


def _log_odds(network: Network, side: int, view: View) -> Values:
    return log_odds(network, _covered(view, side))


class Joint:
    """Fits bank and network together. ``unseen`` comes first: it settles how much either counts."""

    def __init__(self, bank: Plain, painted: Sequence[Labelled], tick: Tick) -> None:
        self._bank = bank
        self._painted = painted
        self._tick = tick
        self._side = bank.settings.side
        self._network_settings = Segmentation(hidden=_HIDDEN, steps=bank.settings.steps)
        self._each = min(max(_GOOD_CELLS_MAX // len(bank.views), 16), _GOOD_CELLS)
        self._good = self._cells(bank.views)
        self._gain = np.ones(len(KINDS) + 1, np.float32)
        self._shift = np.zeros(len(KINDS) + 1, np.float32)

    def unseen(self, divide: Divide) -> NDArray[np.float64]:
        """As ``Plain.unseen``; the network needs fewer folds than the bank, and takes longer."""
        views = [view for view in self._bank.views if view.view == 0]
        maps = self._evidence(views, divide)
        strongest = np.full((self._bank.count, len(KINDS) + 1), -np.inf)
        count = self._bank.settings.strongest
        for view, own in zip(views, maps, strict=True):
            for column in range(own.shape[2]):
                values = smoothed(own[..., column].astype(np.float32))
                highest = max(strongest[view.sample, column], strongest_mean(values, count))
                strongest[view.sample, column] = highest
        least = np.full(len(KINDS) + 1, _LOG_ODDS_SPREAD_MIN)
        least[0] = _DISTANCE_SPREAD_MIN
        spread = np.maximum(strongest.std(axis=0, ddof=1), least)
        self._gain = (1 / spread).astype(np.float32)
        self._shift = (-np.median(strongest, axis=0) / spread).astype(np.float32)
        found = np.zeros(self._bank.count)
        for view, own in zip(views, maps, strict=True):
            distances = smoothed(joined(own.astype(np.float32), self._gain, self._shift))
            found[view.sample] = max(found[view.sample], strongest_mean(distances, count))
        return found

    def _evidence(self, views: Sequence[View], divide: Divide) -> list[NDArray[np.float16]]:
        """Of each view ``(rows, columns, 1 + kinds)``, by a bank and by a network that were fitted
        on other parts."""
        shapes = [covered_shape(v.patches.shape[:2], v.place, self._side) for v in views]
        maps = [np.zeros((*shape, len(KINDS) + 1), np.float16) for shape in shapes]

        def fill(left: NDArray[np.intp], columns: slice, told: Callable[[View], Values]) -> None:
            new = set(left.tolist())
            for view, own in zip(views, maps, strict=True):
                if view.sample in new:
                    self._bank.check()
                    values = np.clip(told(view), -_HALF_MAX, _HALF_MAX)
                    own[..., columns] = values.reshape(*own.shape[:2], -1)

        folds = divide(self._bank.settings.folds)
        for step, (fitted, left) in enumerate(folds):
            self._bank.tick(step, len(folds))
            bank = self._bank.fit(set(fitted.tolist())).detector
            fill(left, slice(0, 1), partial(_distances, bank, self._side))
        for fitted, left in divide(_FOLDS):
            network = self._network(set(fitted.tolist()), ())
            fill(left, slice(1, None), partial(_log_odds, network, self._side))
        return maps

    def fit(self, known: set[int] | None = None, more: Sequence[View] = ()) -> Fitted:
        bank = self._bank.fit(known, more)
        network = self._network(known, self._cells(more))
        tensors = {**bank.tensors, **network, "gain": self._gain, "shift": self._shift}
        assert isinstance(bank.detector, MemoryBank)
        detector = MemoryAndPainted(bank.detector, network, self._gain, self._shift)
        return Fitted(detector, tensors)

    def _network(self, known: set[int] | None, more: Sequence[Labelled]) -> Network:
        cells = [c for c in (*self._good, *self._painted) if known is None or c.sample in known]
        settings, seed = self._network_settings, self._bank.seed
        return cell_network.fit([*cells, *more], len(KINDS), settings, seed, self._tick)

    def _cells(self, views: Sequence[View]) -> list[Labelled]:
        return good_cells(views, self._each, self._side, self._bank.seed, self._bank.check)
