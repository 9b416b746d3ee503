"""The second opinion on classes: a kernel machine on the picture's own numbers, fitted as kernel
logistic regression and weighed against the linear model by answers out of fold.

Where the linear model alone errs next to never, nothing is added: its head is smaller and faster.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning import stacking
from xingyue_adapters.surface_tuning.features import read_rgb, relit, turned
from xingyue_adapters.surface_tuning.measures import balanced_weights
from xingyue_adapters.surface_tuning.stacking import Logits
from xingyue_models.surface_inspection.appearance import appearance
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.kernel import Kernel, nearness, squashed

TRIED = ((1.0, 10.0), (1.0, 30.0), (0.35, 100.0))
"""Width (over the mean squared distance) and inverse regularisation."""
KNOWN_MAX = 768
"""Pictures that are remembered at most: 0.5 MiB."""
SMALL, SMALL_VIEWS = 96, 4
"""Longest side, pixels, of images that are seen in so many views: cheap, and worth it."""
_CUT = 10
_SCALE_MIN = 1e-6
Rows = NDArray[np.float32]
Folds = Sequence[tuple[NDArray[np.intp], NDArray[np.intp]]]


@dataclass(frozen=True, slots=True)
class Blend:
    """Logits are ``linear`` times those of the linear model (its temperature in them) plus
    ``kernel`` times those of a kernel machine of ``gamma`` and ``strength``."""

    linear: float
    kernel: float
    gamma: float
    strength: float
    logits: Logits
    """Out of fold, of the rows that were told."""


def appearances(
    samples: Sequence[ImageSample],
    geometry: Geometry,
    brightness: float,
    seed: int,
    check: Callable[[int, int], None],
) -> Rows:
    """``(N, V, NUMBERS)``; view 0 is the image as it is served. Small images, of which a few pixels
    more or less make another picture, are seen in ``SMALL_VIEWS``, others in one."""
    random = np.random.default_rng((seed, 13))
    rows: list[list[Rows]] = []
    views = SMALL_VIEWS if _small(samples) else 1
    for index, sample in enumerate(samples):
        check(index, len(samples))
        rgb = read_rgb(sample, geometry)
        seen = [rgb, *(_varied(rgb, view, brightness, random) for view in range(1, views))]
        rows.append([appearance(view) for view in seen])
    return np.asarray(rows, np.float32)


def _small(samples: Sequence[ImageSample]) -> bool:
    """Whether the median of up to 64 of the images is."""
    sizes = []
    for sample in samples[:: max(1, len(samples) // 64)]:
        with Image.open(sample.path) as image:
            sizes.append(max(image.size))
    return float(np.median(sizes)) <= SMALL


def _varied(
    rgb: NDArray[np.uint8], view: int, brightness: float, random: np.random.Generator
) -> NDArray[np.uint8]:
    """Turned, relit, up to a tenth cut off each border, up to a tenth larger or smaller."""
    seen = turned(rgb, 3 + view if view > 1 else view)
    if brightness:
        seen = relit(seen, brightness, random)
    height, width = seen.shape[:2]
    top, bottom, left, right = random.integers(0, max(1, min(height, width) // _CUT) + 1, 4)
    if min(height, width) > _CUT:
        seen = seen[top : height - bottom, left : width - right]
    scale = float(np.exp(random.uniform(-1, 1) / _CUT))
    size = (max(1, round(seen.shape[1] * scale)), max(1, round(seen.shape[0] * scale)))
    mode = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(seen, size, interpolation=mode), np.uint8)


def choose(
    rows: Rows,
    truth: NDArray[np.intp],
    linear: Logits,
    told: NDArray[np.bool_],
    parts: Folds,
    seed: int,
    check: Callable[[int, int], None],
) -> Blend | None:
    """None where the linear model, whose logits out of fold are given, does as well alone.

    ``rows`` ``(N, V, A)``, ``truth`` ``(N,)``; ``linear`` ``(told, K)``.
    """
    classes = linear.shape[1]
    weights = balanced_weights(truth[told].tolist())
    best: Blend | None = None
    least = stacking.loss(linear, truth[told], weights) - stacking.GAIN_MIN
    for index, (gamma, strength) in enumerate(TRIED):
        answers = np.zeros((len(truth), classes))
        for step, (fitted, held) in enumerate(parts):
            check(index * len(parts) + step, len(TRIED) * len(parts))
            model = fit(rows[fitted], truth[fitted], classes, gamma, strength, seed)
            answers[held] = model.of_numbers(rows[held, 0])
        shares = stacking.shares(linear, answers[told], truth[told], weights)
        logits = shares[0] * linear + shares[1] * answers[told]
        loss = stacking.loss(logits, truth[told], weights)
        if loss < least:
            least, best = loss, Blend(*shares, gamma, strength, logits)
    return best


def fit(
    rows: Rows, truth: NDArray[np.intp], classes: int, gamma: float, strength: float, seed: int
) -> Kernel:
    """``rows`` ``(N, V, A)``; every class of 0 .. ``classes`` - 1 is in ``truth`` ``(N,)``.

    In the coordinates of the kernel's own span its penalty is a plain square, so the fit is a
    logistic regression. All views are fitted on; remembered are images as they are served, up to
    ``KNOWN_MAX`` of them.
    """
    count, views = rows.shape[:2]
    served = rows[:, 0]
    low, centre, high = np.quantile(served, (0.25, 0.5, 0.75), axis=0)
    # A quarter each side of the middle; where most rows are equal, a share of the deviation.
    scale = np.maximum((high - low) / 1.35, 0.1 * served.std(axis=0))
    scale = np.where(scale > _SCALE_MIN, scale, 1.0).astype(np.float32)
    centre = centre.astype(np.float32)
    known = squashed(served, centre, scale)
    if count > KNOWN_MAX:
        known = known[np.sort(np.random.default_rng(seed).permutation(count)[:KNOWN_MAX])]
    known = known.astype(np.float16).astype(np.float32)  # as they are stored
    width = gamma / float(2 * known.var(axis=0).sum() + _SCALE_MIN)
    values, vectors = np.linalg.eigh(nearness(known, known, width).astype(np.float64))
    strong = values > values[-1] * 1e-6
    basis = vectors[:, strong] / np.sqrt(values[strong])
    seen = squashed(rows.reshape(count * views, -1), centre, scale)
    model = LogisticRegression(C=strength / views, class_weight="balanced", max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        # 300 steps of L-BFGS are the stated end.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(nearness(seen, known, width) @ basis, np.repeat(truth, views))
    weight, bias = basis @ model.coef_.T, model.intercept_
    if classes == 2:
        weight = np.concatenate([-weight, weight], axis=1) / 2
        bias = np.concatenate([-bias, bias]) / 2
    return Kernel(
        centre,
        scale,
        known,
        weight.astype(np.float32),
        bias.astype(np.float32),
        np.array([width], np.float32),
    )
