"""A kernel machine on the pictures' own numbers, fitted as kernel logistic regression."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_tuning import stacking
from xingyue_adapters.surface_tuning.logistic import logistic
from xingyue_adapters.surface_tuning.opinions import Case, Fitted, Opinion
from xingyue_adapters.surface_tuning.picture_numbers import Rows, middle
from xingyue_adapters.surface_tuning.stacking import Logits
from xingyue_models.surface_inspection.comparison import squashed
from xingyue_models.surface_inspection.kernel import PART, Kernel, nearness

TRIED = ((1.0, 10.0), (1.0, 30.0), (0.35, 100.0))
"""Width (over the mean squared distance) and inverse regularisation."""
KNOWN_MAX = 768
"""Pictures that are remembered at most: 0.5 MiB."""
_VARIANCE_MIN = 1e-6


def ask(case: Case, so_far: Logits) -> Opinion | None:
    """``so_far``: out of fold, of the images that were told."""
    numbers, truth, seed = case.numbers, case.truth, case.task.seed
    tell = case.task.ticker("second opinion")
    answers = []
    for index, (gamma, strength) in enumerate(TRIED):
        tell(index, len(TRIED))

        def answer(
            fitted: NDArray[np.intp],
            held: NDArray[np.intp],
            gamma: float = gamma,
            strength: float = strength,
        ) -> Logits:
            model = fit(numbers.fitted[fitted], truth[fitted], gamma, strength, seed)
            return model.of_numbers(numbers.served[held]).astype(np.float64)

        answers.append(case.by_fold(answer))
    found = stacking.best(so_far, answers, case.own, case.weights)
    if found is None:
        return None
    gamma, strength = TRIED[found[0]]

    def fitted(count: int) -> Fitted:
        part = fit(numbers.fitted[:count], truth[:count], gamma, strength, seed)
        return Fitted(part, part.of_numbers(numbers.served[case.count :]).astype(np.float64))

    settled = {"gamma": gamma, "strength": strength}
    return Opinion(PART, "known pictures", found[1], settled, fitted)


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
