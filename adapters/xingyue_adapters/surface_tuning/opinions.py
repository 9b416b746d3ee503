"""What is asked beside the linear model of pooled taps, one part after another: each is weighed
against all that was there before by answers out of fold, and left out where it saves too little."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning import picture_numbers
from xingyue_adapters.surface_tuning.hyperparameters import Classification
from xingyue_adapters.surface_tuning.job import Task
from xingyue_adapters.surface_tuning.measures import balanced_weights
from xingyue_adapters.surface_tuning.picture_numbers import Numbers
from xingyue_adapters.surface_tuning.stacking import Counted, Logits
from xingyue_models.surface_inspection.geometry import Geometry

Folds = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


# Numbers are read once, when first asked for.
@dataclass(frozen=True)
class Case:
    """What parts are asked about. ``truth`` is of all images, those fitted on first; ``folds`` and
    ``told``, those that were answered out of fold, are of the fitted side."""

    task: Task
    settings: Classification
    geometry: Geometry
    classes: tuple[str, ...]
    truth: NDArray[np.intp]
    folds: Folds
    told: NDArray[np.bool_]

    @property
    def samples(self) -> list[ImageSample]:
        return [*self.task.fitted, *self.task.held]

    @property
    def count(self) -> int:
        """Images fitted on."""
        return len(self.task.fitted)

    @functools.cached_property
    def own(self) -> NDArray[np.intp]:
        """Truth of the images that were told."""
        return self.truth[: self.count][self.told]

    @functools.cached_property
    def weights(self) -> NDArray[np.float64]:
        """Theirs; classes weigh alike."""
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

    def by_fold(self, answer: Callable[[NDArray[np.intp], NDArray[np.intp]], Logits]) -> Logits:
        """Of the images that were told, by ``answer`` of what is fitted on and what is asked."""
        logits = np.zeros((self.count, len(self.classes)))
        for fitted, held in self.folds:
            logits[held] = answer(fitted, held)
        return logits[self.told]


class Part(Protocol):
    """Of a head, as ``xingyue_models.surface_inspection`` serves it."""

    def scaled(self, share: float) -> Self: ...

    def tensors(self) -> dict[str, NDArray[Any]]: ...


@dataclass(frozen=True, slots=True)
class Fitted:
    """``part``, counting in full; ``held`` its logits of the held-out images, ``(H, K)``."""

    part: Part
    held: Logits


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
