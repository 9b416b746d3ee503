"""A kernel machine on the pictures' own numbers, fitted as kernel logistic regression."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_tuning.logistic import logistic
from xingyue_adapters.surface_tuning.opinions import Case, Opinion, Which, best_of
from xingyue_adapters.surface_tuning.picture_numbers import Rows, middle
from xingyue_adapters.surface_tuning.stacking import Logits
from xingyue_models.surface_inspection.comparison import squashed
from xingyue_models.surface_inspection.kernel import PART, Kernel, nearness

TRIED = (
    {"gamma": 1.0, "strength": 10.0},
    {"gamma": 1.0, "strength": 30.0},
    {"gamma": 0.35, "strength": 100.0},
)
"""Width (over the mean squared distance) and inverse regularisation."""
KNOWN_MAX = 768
"""Pictures that are remembered at most: 0.5 MiB."""
_VARIANCE_MIN = 1e-6


def ask(case: Case, so_far: Logits) -> Opinion | None:
    """``so_far`` ``(count, K)``: out of fold."""
    numbers, truth, seed = case.numbers, case.truth, case.task.seed

    def own(known: Which, settings: Mapping[str, float]) -> Kernel:
        gamma, strength = settings["gamma"], settings["strength"]
        return fit(numbers.fitted[known], truth[known], gamma, strength, seed)

    def logits(part: Kernel, asked: Which) -> Rows:
        return part.of_numbers(numbers.served[asked])

    return best_of(case, so_far, TRIED, own, logits, PART, "known pictures")


def fit(rows: Rows, truth: NDArray[np.intp], gamma: float, strength: float, seed: int) -> Kernel:
    """``rows`` ``(N, V, A)``; every class from 0 on is in ``truth`` ``(N,)``.

    In the coordinates of the kernel's own span its penalty is a plain square, so the fit is a
    logistic regression. All views are fitted on; remembered are images as they are served, up to
    ``KNOWN_MAX`` of them.
    """
    count, views = rows.shape[:2]
    served = rows[:, 0]
    centre, scale = middle(served)
    known = squashed(served, centre, scale)
    if count > KNOWN_MAX:
        known = known[np.sort(np.random.default_rng(seed).permutation(count)[:KNOWN_MAX])]
    known = known.astype(np.float16).astype(np.float32)  # as they are stored
    width = gamma / float(2 * known.var(axis=0).sum() + _VARIANCE_MIN)
    values, vectors = np.linalg.eigh(nearness(known, known, width).astype(np.float64))
    strong = values > values[-1] * 1e-6
    basis = vectors[:, strong] / np.sqrt(values[strong])
    seen = squashed(rows.reshape(count * views, -1), centre, scale)
    near = nearness(seen, known, width) @ basis
    weight, bias = logistic(near, np.repeat(truth, views), strength / views)
    return Kernel(
        centre,
        scale,
        known,
        (basis @ weight).astype(np.float32),
        bias.astype(np.float32),
        np.array([width], np.float32),
    )
