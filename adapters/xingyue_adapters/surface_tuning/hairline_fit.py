"""Evidence of hairlines, from thin networks that were taught to tell lines painted over good parts
from good surface, each by another drawing, and then tuned by labels of whole pictures. How much the
evidence counts is settled by answers of networks that have not seen the part.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning import stacking
from xingyue_adapters.surface_tuning.cells import Labelled, drawn_good, drawn_painted
from xingyue_adapters.surface_tuning.features import Seen, TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import Segmentation
from xingyue_adapters.surface_tuning.logistic import logistic
from xingyue_adapters.surface_tuning.opinions import Case, Fitted, Opinion
from xingyue_adapters.surface_tuning.painting import LINES
from xingyue_adapters.surface_tuning.stacking import Counted, Logits
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.hairlines import (
    GRID,
    KINDS,
    PART,
    STRONGEST,
    Hairlines,
    Network,
    covered_patches,
    evidence,
    odds,
)
from xingyue_models.surface_inspection.manifest import GOOD

if TYPE_CHECKING:
    from xingyue_adapters.surface_tuning.multiple_instance import Tuned

GOOD_MIN = 8
"""Good parts that any network must have been painted over."""
DRAWINGS = 3
"""Of lines, by chance: what one of them happens to leave out another has."""
_COPIES_MAX, _PAINTED_MAX = 6, 600
"""Of each drawing."""
_GOOD_CELLS, _GOOD_CELLS_MAX = 300, 60_000
"""Cells drawn of a window as it is, and of all of them."""
_PAINTED_CELLS = 40
"""Cells drawn of the paint on one window."""
SETTINGS = Segmentation(hidden=64, steps=600)
_TUNED_ON, _CANDIDATES = 400, 200
"""Pictures whose labels tune a network, at most; their strongest cells that are kept."""
_STRENGTH = 1.0
_ALIKE, _TRUSTED = 0.7, (0.25, 1.0)
"""Share of the log-loss saved by all others, from which on the evidence leads; shares of others and
of the evidence then."""
Floats = NDArray[np.float64]


def ask(case: Case, so_far: Logits) -> Opinion | None:
    """``so_far`` ``(count, K)``: out of fold. Asked only where there are good parts to be painted
    over."""
    good = case.truth == case.classes.index(GOOD) if GOOD in case.classes else case.truth < 0
    fewest = min((int(good[fitted].sum()) for fitted, _ in case.folds), default=0)
    if fewest < GOOD_MIN:
        return None
    teacher = _Teacher(case, good)
    told = np.zeros(case.count)
    for known, left in case.folds:
        told[left] = teacher.scores(left, teacher.taught(known))
    counted = choose(case, so_far, told)
    if counted is None:
        return None
    weight, bias = _scored(told, case.own)

    def fitted(count: int) -> Fitted:
        networks = teacher.taught(np.arange(count))
        held = teacher.scores(case.held, networks)
        return Fitted(_part(networks, weight, bias), held[:, None] * weight + bias)

    return Opinion(PART, "evidence of hairlines", counted, {"networks": DRAWINGS}, fitted)


class _Teacher:
    """Paints once, then teaches networks what is in ``known``, indices of images."""

    def __init__(self, case: Case, good: NDArray[np.bool_]) -> None:
        self._case = case
        self._good = good
        # Held-out parts are painted only for the head that is fitted on all.
        self._places = np.flatnonzero(good if case.settings.refit else good[: case.count])
        parts = [case.samples[index] for index in self._places]
        runner, seed = case.task.runner, case.task.seed
        self._surface = surface_cells(runner, parts, case.geometry, seed)
        self._painted = [
            painted_cells(runner, parts, case.geometry, seed, drawing)
            for drawing in range(DRAWINGS)
        ]

    def taught(self, known: NDArray[np.intp]) -> list[Tuned]:
        # Imported here: they bring torch along.
        from xingyue_adapters.surface_tuning.cell_network import CellNetwork
        from xingyue_adapters.surface_tuning.multiple_instance import tune

        seed, tell = self._case.task.seed, self._case.task.ticker("hairlines, fit")
        mine = np.isin(self._places, known)
        networks = []
        for painted in self._painted:
            own = [part for part in (*self._surface, *painted) if mine[part.sample]]
            networks.append(CellNetwork(own, KINDS, SETTINGS, seed))
            networks[-1].train(tell)
        pictures = self._to_tune_on(known)
        cells = self._strongest(pictures, [network.tensors() for network in networks])
        defective = ~self._good[pictures]
        return [
            tune(network, own, defective, STRONGEST, seed, tell)
            for network, own in zip(networks, cells, strict=True)
        ]

    def scores(self, asked: NDArray[np.intp], networks: Sequence[Tuned]) -> Floats:
        """``(N,)``: mean log-odds of a defect, of images by their indices."""
        found = np.zeros(len(asked))
        stored = [each.network for each in networks]
        side = self._case.geometry.side
        for seen in self._windows(asked):
            rows = evidence(stored, seen.batch, 0, seen.place, side)
            told = [row @ each.weight + each.bias for row, each in zip(rows, networks, strict=True)]
            found[seen.sample] = np.mean(told)
        return found

    def _to_tune_on(self, known: NDArray[np.intp]) -> NDArray[np.intp]:
        """As many of either side where not all can be."""
        if len(known) <= _TUNED_ON:
            return known
        random = np.random.default_rng((self._case.task.seed, 37))
        sides = [random.permutation(known[self._good[known] == side]) for side in (True, False)]
        fewer = min(_TUNED_ON // 2, *(len(side) for side in sides))
        return np.sort(np.concatenate([side[: _TUNED_ON - fewer] for side in sides]))

    def _strongest(
        self, pictures: NDArray[np.intp], networks: Sequence[Network]
    ) -> NDArray[np.float16]:
        """``(D, N, M, C)``: of each picture the cells in which each network sees lines most."""
        shape = (len(networks), len(pictures), _CANDIDATES, GRID.width)
        found = np.zeros(shape, np.float16)
        for seen in self._windows(pictures):
            patches = covered_patches(seen.batch, 0, seen.place, self._case.geometry.side)
            flat = patches.reshape(-1, GRID.width)
            for index, kinds in enumerate(odds(networks, patches)):
                order = np.argsort(-np.maximum.reduce(kinds), axis=None, kind="stable")
                # Of a narrow picture all cells that there are, the weakest over and over.
                order = np.pad(order, (0, max(0, _CANDIDATES - len(order))), mode="edge")
                found[index, seen.sample] = flat[order[:_CANDIDATES]]
        return found

    def _windows(self, pictures: NDArray[np.intp]) -> Iterator[Seen]:
        samples = [self._case.samples[index] for index in pictures]
        geometry = self._case.geometry
        return self._case.task.runner.windows(
            samples, geometry, GRID.taps, views=1, stage="hairlines"
        )


def surface_cells(
    runner: TrunkRunner, good: Sequence[ImageSample], geometry: Geometry, seed: int
) -> list[Labelled]:
    """Cells of good parts as they are; ``sample`` counts ``good``."""
    random, found = np.random.default_rng((seed, 31)), []
    each = min(max(_GOOD_CELLS_MAX // max(1, len(good)), 1), _GOOD_CELLS)
    for seen in runner.windows(good, geometry, GRID.taps, views=1, stage="hairlines"):
        flat = covered_patches(seen.batch, 0, seen.place, geometry.side).reshape(-1, GRID.width)
        found.append(drawn_good(seen.sample, 0, flat, each, random))
    return found


def painted_cells(
    runner: TrunkRunner, good: Sequence[ImageSample], geometry: Geometry, seed: int, drawing: int
) -> list[Labelled]:
    """Cells of lines painted over good parts, and of what is beside them."""
    random = np.random.default_rng((seed, 41, drawing))
    copies = min(_COPIES_MAX, _PAINTED_MAX / max(1, len(good)))
    painted = runner.painted_copies(
        good, geometry, GRID.taps, LINES, views=1, copies=copies, drawing=drawing
    )
    return [drawn_painted(over, GRID, geometry.side, _PAINTED_CELLS, random) for over in painted]


def choose(case: Case, others: Logits, told: Floats) -> Counted | None:
    """How much ``told`` ``(count,)``, by networks that have not seen the part, counts; None where
    what was asked before, whose logits are given, does as well alone.

    Those have settings that were chosen by these very answers, so they look better here than on
    parts of other groups; evidence has next to none. So it leads where it tells nearly as much.
    """

    def answer(fitted: NDArray[np.intp], held: NDArray[np.intp]) -> Logits:
        weight, bias = _scored(told[fitted], case.truth[fitted])
        return np.asarray(told[held][:, None] * weight + bias)

    own, weights = case.own, case.weights
    answers = case.by_fold(answer, case.task.ticker("hairlines"))
    alone = stacking.counted(others, answers, (0.0, 1.0), own, weights)
    nothing, before, after = (
        stacking.loss(logits, own, weights) for logits in (others * 0, others, alone.logits)
    )
    if nothing - after >= _ALIKE * (nothing - before):
        return stacking.counted(others, answers, _TRUSTED, own, weights)
    found = stacking.best(others, [answers], own, weights)
    return None if found is None else found[1]


def _scored(told: Floats, truth: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Weight and bias ``(K,)`` that turn log-odds of a defect into logits of the classes."""
    mean, scale = told.mean(), max(float(told.std()), 1e-6)
    weight, bias = logistic(((told - mean) / scale)[:, None], truth, _STRENGTH)
    return weight[0] / scale, bias - mean / scale * weight[0]


def _part(networks: Sequence[Tuned], weight: Floats, bias: Floats) -> Hairlines:
    stacked = {
        name: np.stack([each.network[name] for each in networks]) for name in networks[0].network
    }
    own = np.stack([each.weight for each in networks]) / len(networks)
    shift = float(np.mean([each.bias for each in networks]))
    return Hairlines(
        **stacked,
        classes=(own[..., None] * weight).astype(np.float32),
        class_bias=(bias + shift * weight).astype(np.float32),
    )
