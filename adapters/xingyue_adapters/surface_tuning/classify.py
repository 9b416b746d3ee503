"""Method ``classification``: pooled taps, standardised, multinomial logistic regression.

Regularisation, and how much texture counts, is settled by cross-validation over groups; the same
out-of-fold answers give the temperature and the threshold, so nothing is calibrated on images that
were fitted on. Classes weigh alike whatever their counts.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.metrics import cheapest_threshold
from xingyue_adapters.surface_tuning.features import TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import Classification
from xingyue_adapters.surface_tuning.logistic import logistic
from xingyue_adapters.surface_tuning.measures import balanced_weights, temperature
from xingyue_models.surface_inspection.geometry import Geometry
from xingyue_models.surface_inspection.linear_head import softmax
from xingyue_models.surface_inspection.manifest import GOOD
from xingyue_models.surface_inspection.pooling import Pooling

STRENGTHS = (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
"""Inverse regularisation: scikit-learn's ``C`` times the views; features are standardised."""
_VIEWS_TRIED = 2
"""Views of each image in cross-validation: enough to choose by, at half the time."""
TEXTURED = Pooling(texture=("f4", "f8"))
TEXTURE = Pooling(taps=(), texture=("f4", "f8"))
CHOICES = {"both": TEXTURED, "texture": TEXTURE}
"""What cross-validation chooses from; all are columns of ``TEXTURED``."""
SCALE_MAX = 64.0
"""Small crops fill the canvas; their size is told by the picture's numbers."""
_SHARE_MIN = 0.05
"""A choice of features that weighs less is left out."""
Rows = NDArray[np.float32]


def geometry_of(settings: Classification) -> Geometry:
    return Geometry(settings.side, windows_max=1, exposure=False, scale_max=SCALE_MAX, tight=True)


def pooled(
    runner: TrunkRunner, samples: Sequence[ImageSample], settings: Classification, *, views: int
) -> Rows:
    """``(N, views, F)``; view 0 is the image as it is served."""
    rows = np.empty((len(samples), views, TEXTURED.width), np.float32)
    for seen in runner.windows(
        samples, geometry_of(settings), TEXTURED.read, views=views, brightness=settings.brightness
    ):
        rows[seen.sample, seen.view] = TEXTURED.pool(seen.canvas[None], seen.batch, [seen.place])[0]
    return rows


def columns(pooling: Pooling) -> NDArray[np.intp]:
    """Of rows made by ``TEXTURED``, those that ``pooling`` has."""
    every = np.arange(TEXTURED.width)
    pooled = every[: TEXTURED.pooled_width]
    texture = every[TEXTURED.pooled_width :][: TEXTURED.texture_width]
    picture = every[TEXTURED.pooled_width + TEXTURED.texture_width :]
    parts = [pooled if pooling.taps else pooled[:0], texture if pooling.texture else texture[:0]]
    return np.concatenate([*parts, picture])


@dataclass(frozen=True, slots=True)
class Linear:
    """Logits are ``((row - mean) / scale) @ weight.T + bias``, over the temperature."""

    classes: tuple[str, ...]
    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    temperature: float = 1.0

    def logits(self, rows: Rows) -> NDArray[np.float64]:
        """``(N, F)`` -> ``(N, K)``."""
        known = (rows - self.mean) / self.scale
        return np.asarray((known @ self.weight.T + self.bias) / self.temperature)

    def chances(self, rows: Rows) -> NDArray[np.float64]:
        return np.asarray(softmax(self.logits(rows).astype(np.float32)), np.float64)

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """With standardisation and temperature folded in, as the head is stored."""
        weight = self.weight / self.scale / self.temperature
        bias = self.bias / self.temperature - weight @ self.mean
        return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


@dataclass(frozen=True, slots=True)
class Member:
    """A model of its own on one choice of features; ``share`` of the logits that are its."""

    features: str
    strength: float
    share: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """What cross-validation settled. ``tried`` maps features and strength to the out-of-fold
    log-loss."""

    members: tuple[Member, ...]
    temperature: float
    threshold: float
    tried: dict[str, float]
    accuracy: float
    """Out of fold."""
    logits: NDArray[np.float64]
    """Out of fold, the temperature in them, ``(N, K)``."""

    @property
    def pooling(self) -> Pooling:
        return CHOICES[self.members[0].features] if len(self.members) == 1 else TEXTURED


def order_classes(samples: Sequence[ImageSample]) -> tuple[str, ...]:
    """``good`` first where there is one, then the defects by name."""
    labels = sorted({sample.label for sample in samples})
    return tuple(sorted(labels, key=lambda label: (label != GOOD, label)))


def choose(
    rows: Rows,
    samples: Sequence[ImageSample],
    settings: Classification,
    seed: int,
    check: Callable[[int, int], None],
) -> Chosen:
    """Features, strength, temperature and threshold from out-of-fold answers on view 0."""
    classes = order_classes(samples)
    truth = np.array([classes.index(s.label) for s in samples])
    strengths = (settings.regularisation,) if settings.regularisation else STRENGTHS
    trials = [(name, c) for name in CHOICES for c in strengths]
    parts = folds(samples, settings.folds, seed)
    told = np.zeros(len(samples), np.bool_)
    answers = [np.zeros((len(samples), len(classes))) for _ in trials]
    for step, (fitted, held) in enumerate(parts):
        told[held] = True
        for index, (name, strength) in enumerate(trials):
            check(step * len(trials) + index, len(parts) * len(trials))
            known = rows[:, :_VIEWS_TRIED, columns(CHOICES[name])]
            model = fit(known[fitted], truth[fitted], classes, strength)
            answers[index][held] = model.logits(known[held, 0])
    if not told.all():  # a fold that held all groups of a label was dropped
        raise InvalidRequest(
            "classification needs images of two groups or more in every class, to choose its "
            "settings on some that it was not fitted on; add images of other parts",
            code="too_few_groups",
            param="data",
        )
    weights = balanced_weights(truth.tolist())
    losses = [_log_loss(answer, truth, weights)[0] for answer in answers]
    members = _shares(trials, losses, len(truth))
    logits = np.zeros((len(truth), len(classes)))
    for member in members:
        own = answers[trials.index((member.features, member.strength))]
        logits += member.share * own
    _, heat, chances = _log_loss(logits, truth, weights)
    return Chosen(
        members,
        heat,
        _threshold(classes, truth, chances, settings.escape_cost),
        {f"{name} {c:g}": round(loss, 4) for (name, c), loss in zip(trials, losses, strict=True)},
        round(float((chances.argmax(axis=1) == truth).mean()), 4),
        logits / heat,
    )


def recalibrated(
    chosen: Chosen,
    logits: NDArray[np.float64],
    classes: tuple[str, ...],
    truth: NDArray[np.intp],
    escape_cost: float,
) -> Chosen:
    """With threshold and accuracy by other ``logits``; ``truth`` is of all images, those fitted on
    first."""
    own = truth[: len(logits)]
    chances = softmax(logits.astype(np.float32))
    return dataclasses.replace(
        chosen,
        threshold=_threshold(classes, own, chances, escape_cost),
        accuracy=round(float((chances.argmax(axis=1) == own).mean()), 4),
        logits=logits,
    )


def _shares(
    trials: Sequence[tuple[str, float]], losses: Sequence[float], images: int
) -> tuple[Member, ...]:
    """Each choice of features at its best strength, weighed by ``exp(-images x loss)``: pseudo-BMA
    (Yao et al., 2018). A clear winner stands alone; near equals are averaged, which is steadier
    than a pick between them."""
    best: dict[str, tuple[float, float]] = {}
    for (name, strength), loss in zip(trials, losses, strict=True):
        best[name] = min(best.get(name, (math.inf, 0.0)), (loss, strength))
    least = min(loss for loss, _ in best.values())
    raw = {name: math.exp(-images * (loss - least)) for name, (loss, _) in best.items()}
    total = sum(raw.values())
    kept = {name: value for name, value in raw.items() if value / total >= _SHARE_MIN}
    return tuple(
        Member(name, best[name][1], value / sum(kept.values())) for name, value in kept.items()
    )


def _log_loss(
    logits: NDArray[np.float64], truth: NDArray[np.intp], weights: NDArray[np.float64]
) -> tuple[float, float, Rows]:
    """After the temperature that makes it least: the loss, that temperature, the probabilities."""
    heat = temperature(logits, truth, weights)
    chances = softmax((logits / heat).astype(np.float32))
    own = np.clip(chances[np.arange(len(truth)), truth], 1e-7, 1.0)
    return float(-(weights * np.log(own)).mean()), heat, chances


def fit_chosen(
    rows: Rows, truth: NDArray[np.intp], classes: tuple[str, ...], chosen: Chosen
) -> Linear:
    """Members fitted and joined: a weighted sum of linear models is one linear model.

    ``rows`` have the columns of ``TEXTURED``, the model those of ``chosen.pooling``.
    """
    weight = np.zeros((len(classes), TEXTURED.width))
    bias = np.zeros(len(classes))
    for member in chosen.members:
        own = columns(CHOICES[member.features])
        model = fit(rows[..., own], truth, classes, member.strength)
        folded = model.weight / model.scale
        weight[:, own] += member.share * folded
        bias += member.share * (model.bias - folded @ model.mean)
    kept = columns(chosen.pooling)
    unit = np.ones(len(kept))
    return Linear(classes, unit * 0, unit, weight[:, kept], bias, chosen.temperature)


def _threshold(
    classes: tuple[str, ...], truth: NDArray[np.intp], chances: Rows, escape_cost: float
) -> float:
    if GOOD not in classes:
        return 0.0
    scores = (1 - chances[:, classes.index(GOOD)]).tolist()
    defective = (truth != classes.index(GOOD)).tolist()
    return round(min(max(cheapest_threshold(defective, scores, escape_cost), 0.001), 0.999), 4)


def scores_of(classes: tuple[str, ...], chances: NDArray[np.float64]) -> NDArray[np.float64]:
    """As the head gives them: 1 - P(good), or the likeliest class's where none is good."""
    if GOOD in classes:
        return np.asarray(1 - chances[:, classes.index(GOOD)])
    return np.asarray(chances.max(axis=1))


def fit(rows: Rows, truth: NDArray[np.intp], classes: tuple[str, ...], strength: float) -> Linear:
    """``rows`` ``(N, V, F)``, every view a row of its own; deterministic."""
    flat = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    mean, scale = flat.mean(axis=0), flat.std(axis=0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    turned, basis = _rotate((flat - mean) / scale)
    weight, bias = logistic(turned, np.repeat(truth, rows.shape[1]), strength / rows.shape[1])
    return Linear(classes, mean, scale, (basis @ weight).T, bias)


def _rotate(known: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """``known`` ``(n, F)`` in the coordinates of its own span, and the basis ``(F, r)`` of it.

    A linear model with a squared penalty has its weights in that span, so the fit is the same, and
    with fewer rows than features far cheaper. The smaller of the two products gives the span.
    """
    if len(known) > known.shape[1]:
        values, vectors = np.linalg.eigh(known.T @ known)
        basis = vectors[:, values > values[-1] * 1e-10]
        return known @ basis, basis
    values, vectors = np.linalg.eigh(known @ known.T)
    kept = values > values[-1] * 1e-10
    lengths = np.sqrt(values[kept])
    return vectors[:, kept] * lengths, known.T @ (vectors[:, kept] / lengths)


def folds(
    samples: Sequence[ImageSample], count: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Indices fitted on and held out, whole groups each; fewer folds where groups are few.

    A fold that would leave a label out of the fitted side is dropped.
    """
    labels = np.array([s.label for s in samples])
    groups = np.array([s.group for s in samples])
    count = max(2, min(count, *(len(set(groups[labels == c])) for c in set(labels)), len(samples)))
    if len(set(groups)) < count:
        return []
    splitter = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    parts = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report tells of rare labels
        for fitted, held in splitter.split(labels, labels, groups):
            if set(labels[fitted]) == set(labels):
                parts.append((fitted, held))
    return parts
