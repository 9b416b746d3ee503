"""The third opinion on classes: evidence of hairlines, from a thin network that was taught to tell
lines painted over good parts from good surface. No defect is fitted on: photographed ones only
settle how much the evidence counts, by answers of networks that have not seen the part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning import stacking
from xingyue_adapters.surface_tuning.cells import Labelled, drawn_good, drawn_painted
from xingyue_adapters.surface_tuning.features import TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import Segmentation
from xingyue_adapters.surface_tuning.measures import balanced_weights, temperature
from xingyue_adapters.surface_tuning.painting import LINES
from xingyue_adapters.surface_tuning.stacking import Logits
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.hairlines import GRID, KINDS, Hairlines, Network, evidence
from xingyue_models.surface_inspection.pooling import covered_shape

GOOD_MIN = 8
"""Good parts that any network must have been painted over."""
_COPIES_MAX, _PAINTED_MAX = 12, 1200
_GOOD_CELLS = 300
"""Cells drawn of a window as it is."""
_SETTINGS = Segmentation(hidden=64, steps=1000)
_STRENGTH = 1.0
_GAIN_MIN = 0.002
"""Log-loss that the evidence must save to be shipped."""
_EVEN = (0.5, 1.0)
Check = Callable[[int, int], None]
Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Opinion:
    """Logits are ``others`` times those of the other parts plus ``own`` times
    ``evidence @ classes + bias``."""

    others: float
    own: float
    classes: NDArray[np.float64]
    bias: NDArray[np.float64]
    logits: Logits
    """Of both, out of fold, of the rows that were told."""

    def part(self, network: Network) -> Hairlines:
        """As it is shipped, its share folded in."""
        return Hairlines(
            hidden=network["hidden"],
            hidden_bias=network["hidden_bias"],
            weight=network["weight"],
            bias=network["bias"],
            classes=(self.classes * self.own).astype(np.float32),
            class_bias=(self.bias * self.own).astype(np.float32),
        )


def paint_over(
    runner: TrunkRunner, good: Sequence[ImageSample], geometry: Geometry, seed: int
) -> list[Labelled]:
    """Cells of good parts and of lines painted over them; ``sample`` counts ``good``."""
    random = np.random.default_rng((seed, 31))
    copies = min(_COPIES_MAX, max(1, _PAINTED_MAX // max(1, len(good))))
    found = []
    for seen in runner.windows(good, geometry, GRID.taps, views=1, stage="hairlines"):
        patches = GRID.of({tap: values[None] for tap, values in seen.taps.items()}, 0)
        rows, columns = covered_shape(patches.shape[:2], seen.place, geometry.side)
        flat = patches[:rows, :columns].reshape(rows * columns, -1)
        found.append(drawn_good(seen.sample, 0, flat, _GOOD_CELLS, random))
    painted = runner.painted_copies(good, geometry, GRID.taps, LINES, views=1, copies=copies)
    return found + [drawn_painted(over, GRID, geometry.side, random) for over in painted]


def fit(cells: Sequence[Labelled], seed: int, check: Check) -> Network:
    # Imported here: it brings torch along.
    from xingyue_adapters.surface_tuning import segment

    return segment.fit(cells, KINDS, _SETTINGS, seed, check)


def ask(
    runner: TrunkRunner,
    samples: Sequence[ImageSample],
    geometry: Geometry,
    networks: Sequence[Sequence[Network]],
) -> list[list[Rows]]:
    """Evidence ``(KINDS,)`` of each sample by each of its own ``networks``."""
    found: list[list[Rows]] = [[] for _ in samples]
    for seen in runner.windows(samples, geometry, GRID.taps, views=1, stage="hairlines"):
        taps = {tap: values[None] for tap, values in seen.taps.items()}
        found[seen.sample] = [
            evidence(network, taps, 0, seen.place, geometry.side)
            for network in networks[seen.sample]
        ]
    return found


def choose(
    rows: Rows,
    truth: NDArray[np.intp],
    others: Logits,
    told: NDArray[np.bool_],
    parts: Folds,
) -> Opinion | None:
    """None where the other parts, whose logits out of fold are given, do as well alone.

    ``rows`` ``(N, KINDS)`` by networks that have not seen the part, ``truth`` ``(N,)``; ``others``
    ``(told, K)``.
    """
    classes = others.shape[1]
    answers = np.zeros((len(rows), classes))
    for fitted, held in parts:
        weight, bias = _logistic(rows[fitted], truth[fitted], classes)
        answers[held] = rows[held] @ weight + bias
    own, weights = truth[told], balanced_weights(truth[told].tolist())
    most = stacking.loss(others, own, weights) - _GAIN_MIN
    stacked = stacking.shares(others, answers[told], own, weights)
    # First half way to even shares: the others' settings were chosen by these very answers, so they
    # look better here than on parts of other groups; the evidence was fitted on no defect.
    halfway = [(share + even) / 2 for share, even in zip(stacked, _EVEN, strict=True)]
    for shares in (halfway, stacked):
        logits = shares[0] * others + shares[1] * answers[told]
        heat = temperature(logits, own, weights)
        counted = [round(share / heat, 4) for share in shares]
        logits = counted[0] * others + counted[1] * answers[told]
        if stacking.loss(logits, own, weights) <= most:
            return Opinion(counted[0], counted[1], *_logistic(rows[told], own, classes), logits)
    return None


def _logistic(
    rows: Rows, truth: NDArray[np.intp], classes: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight ``(KINDS, K)`` and bias ``(K,)`` on rows as they are."""
    mean, scale = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-6)
    model = LogisticRegression(C=_STRENGTH, class_weight="balanced")
    model.fit((rows - mean) / scale, truth)
    weight, bias = model.coef_.T.astype(np.float64), model.intercept_.astype(np.float64)
    if classes == 2:
        weight = np.concatenate([-weight, weight], axis=1) / 2
        bias = np.concatenate([-bias, bias]) / 2
    weight = weight / scale[:, None]
    return weight, bias - mean @ weight
