"""What is asked beside the linear model of pooled taps, one part after another: each is weighed
against all that was there before by answers out of fold, and left out where it does not pay."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning import picture_numbers, stacking
from xingyue_adapters.surface_tuning.hyperparameters import Classification
from xingyue_adapters.surface_tuning.job import Task
from xingyue_adapters.surface_tuning.measures import balanced_weights
from xingyue_adapters.surface_tuning.picture_numbers import Numbers
from xingyue_adapters.surface_tuning.stacking import Counted, Logits
from xingyue_models.surface_inspection.geometry import Geometry

Which = NDArray[np.intp]
Folds = list[tuple[Which, Which]]
Check = Callable[[int, int], None]


class Fittable(Protocol):
    """A part of a head, as ``xingyue_models.surface_inspection`` serves it."""

    def scaled(self, share: float) -> Self: ...

    def tensors(self) -> dict[str, NDArray[Any]]: ...


Kind = TypeVar("Kind", bound=Fittable)


# Without slots: what is read once is kept in the instance.
@dataclass(frozen=True, eq=False)
class Case:
    """What parts are asked about. ``truth`` ``(N,)`` is of all images, those fitted on first;
    ``folds`` are of the ``count`` images fitted on, each of which is held out in one."""

    task: Task
    settings: Classification
    geometry: Geometry
    classes: tuple[str, ...]
    truth: Which
    folds: Folds

    @functools.cached_property
    def samples(self) -> list[ImageSample]:
        return [*self.task.fitted, *self.task.held]

    @property
    def count(self) -> int:
        return len(self.task.fitted)

    @property
    def held(self) -> Which:
        """Indices of the held-out images."""
        return np.arange(self.count, len(self.samples))

    @property
    def own(self) -> Which:
        """Truth of the images fitted on."""
        return self.truth[: self.count]

    @functools.cached_property
    def weights(self) -> NDArray[np.float64]:
        """Of the images fitted on: classes weigh alike."""
        return balanced_weights(self.own.tolist())

    @functools.cached_property
    def numbers(self) -> Numbers:
        return picture_numbers.read(
            self.samples,
            self.geometry,
            self.settings.brightness,
            self.task.seed,
            self.task.ticker("appearance"),
        )

    def by_fold(self, answer: Callable[[Which, Which], Logits], check: Check) -> Logits:
        """``(count, K)`` by ``answer``, which takes the images that are fitted on and those that
        are asked about and gives logits of the latter."""
        logits = np.zeros((self.count, len(self.classes)))
        for step, (fitted, left) in enumerate(self.folds):
            check(step, len(self.folds))
            logits[left] = answer(fitted, left)
        return logits


@dataclass(frozen=True, slots=True)
class Fitted:
    """``part``, counting in full; ``logits`` its own of the held-out images, ``(H, K)``."""

    part: Fittable
    logits: Logits


@dataclass(frozen=True, slots=True)
class Opinion:
    """``fit`` takes how many images, those fitted on first, the part is to be fitted on."""

    name: str
    words: str
    counted: Counted
    settled: Mapping[str, float]
    fit: Callable[[int], Fitted]

    def choices(self) -> dict[str, float]:
        shares = {"share": self.counted.own, "share_of_others": self.counted.others}
        return {**shares, **self.settled}


def best_of(
    case: Case,
    so_far: Logits,
    tried: Sequence[Mapping[str, float]],
    fit: Callable[[Which, Mapping[str, float]], Kind],
    logits: Callable[[Kind, Which], NDArray[np.float32]],
    name: str,
    words: str,
) -> Opinion | None:
    """The part whose settings, of those ``tried``, save most beside ``so_far`` ``(count, K)``.

    ``fit`` takes indices of images and settings; ``logits`` a part and indices of images.
    """
    check = case.task.ticker(words)
    answers = []
    for settings in tried:

        def answer(known: Which, left: Which, own: Mapping[str, float] = settings) -> Logits:
            return logits(fit(known, own), left).astype(np.float64)

        answers.append(case.by_fold(answer, check))
    found = stacking.best(so_far, answers, case.own, case.weights)
    if found is None:
        return None
    settled = tried[found[0]]

    def fitted(count: int) -> Fitted:
        part = fit(np.arange(count), settled)
        return Fitted(part, logits(part, case.held).astype(np.float64))

    return Opinion(name, words, found[1], settled, fitted)
