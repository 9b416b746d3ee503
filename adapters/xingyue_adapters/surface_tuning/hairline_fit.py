"""The third opinion on classes: evidence of hairlines, from a thin network that was taught to tell
lines painted over good parts from good surface. No defect is fitted on: photographed ones only
settle how much the evidence counts, by answers of networks that have not seen the part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning import stacking
from xingyue_adapters.surface_tuning.features import AS_IT_IS, PaintedOver, TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import Segmentation
from xingyue_adapters.surface_tuning.measures import balanced_weights, temperature
from xingyue_adapters.surface_tuning.painting import CHANGED_MIN, LINES
from xingyue_adapters.surface_tuning.stacking import Logits
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.hairlines import GRID, KINDS, Hairlines, Network, evidence
from xingyue_models.surface_inspection.pooling import covered_shape

GOOD_MIN = 8
"""Good parts that any network must have been painted over."""
_COPIES_MAX, _PAINTED_MAX = 6, 600
_GOOD_CELLS, _BESIDE_CELLS, _PAINTED_CELLS = 300, 80, 150
"""Cells drawn of a window as it is; of a painted one, off the paint and on it."""
_NEAR = np.ones((5, 5), np.uint8)
"""Cells that are neither: next to paint."""
_SETTINGS = Segmentation(hidden=64, steps=1000)
_STRENGTH = 1.0
_GAIN_MIN = 0.002
"""Log-loss that the evidence must save to be shipped."""
_EVEN = (0.5, 1.0)
Check = Callable[[int, int], None]
Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]
Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Cells:
    """Of one window, drawn: ``patches`` ``(1, n, C)`` float16 and ``truth`` ``(1, n)``: 0 good,
    1 + kind of line."""

    sample: int
    patches: NDArray[np.float16]
    truth: NDArray[np.int8]


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
) -> list[Cells]:
    """Cells of good parts and of lines painted over them; ``sample`` counts ``good``."""
    random = np.random.default_rng((seed, 19))
    copies = min(_COPIES_MAX, max(1, _PAINTED_MAX // max(1, len(good))))
    windows = runner.painted(good, geometry, GRID.taps, LINES, copies=copies)
    return [_cells(window, geometry, random) for window in windows]


def _cells(window: PaintedOver, geometry: Geometry, random: np.random.Generator) -> Cells:
    patches = GRID.of({tap: values[None] for tap, values in window.seen.taps.items()}, 0)
    rows, columns = covered_shape(patches.shape[:2], window.seen.place, geometry.side)
    flat = patches[:rows, :columns].reshape(rows * columns, -1)
    if window.kind == AS_IT_IS:
        picked = random.permutation(len(flat))[:_GOOD_CELLS]
        truth = np.zeros(len(picked), np.int8)
    else:
        share = cv2.resize(window.changed, (columns, rows), interpolation=cv2.INTER_AREA)
        on = (share > CHANGED_MIN).astype(np.uint8)
        off = cv2.dilate(on, _NEAR) == 0
        lines = random.permutation(np.flatnonzero(on))[:_PAINTED_CELLS]
        beside = random.permutation(np.flatnonzero(off))[:_BESIDE_CELLS]
        picked = np.concatenate([lines, beside])
        truth = np.where(np.arange(len(picked)) < len(lines), window.kind + 1, 0).astype(np.int8)
    return Cells(window.seen.sample, flat[picked][None].astype(np.float16), truth[None])


def fit(cells: Sequence[Cells], seed: int, check: Check) -> Network:
    # Imported here: it brings torch along.
    from xingyue_adapters.surface_tuning import segment

    views = [segment.Labelled(part.sample, 0, part.patches, part.truth) for part in cells]
    return segment.fit(views, KINDS, _SETTINGS, seed, check)


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
    shares = stacking.shares(others, answers[told], own, weights)
    logits = shares[0] * others + shares[1] * answers[told]
    saved = stacking.loss(others, own, weights) - stacking.loss(logits, own, weights)
    if saved < _GAIN_MIN:
        return None
    # Half way to even shares: the others' settings were chosen by these very answers, so they look
    # better here than on parts of other groups; the evidence was fitted on no defect.
    mixed = [(share + even) / 2 for share, even in zip(shares, _EVEN, strict=True)]
    logits = mixed[0] * others + mixed[1] * answers[told]
    heat = temperature(logits, own, weights)
    counted = [round(share / heat, 4) for share in mixed]
    return Opinion(
        counted[0],
        counted[1],
        *_logistic(rows[told], own, classes),
        counted[0] * others + counted[1] * answers[told],
    )


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
