"""Method ``classification``, whole: a linear model of pooled taps, and beside it, where that pays
out of fold, a kernel machine on the picture's own numbers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_tuning import classify, kernel_fit
from xingyue_adapters.surface_tuning.export import HeadDraft
from xingyue_adapters.surface_tuning.hyperparameters import Classification
from xingyue_adapters.surface_tuning.job import Task, Work
from xingyue_adapters.surface_tuning.kernel_fit import Blend
from xingyue_adapters.surface_tuning.measures import Judged
from xingyue_models.surface_inspection import kernel_head, linear_head
from xingyue_models.surface_inspection.kernel_head import Kernel
from xingyue_models.surface_inspection.linear_head import softmax
from xingyue_models.surface_inspection.manifest import GOOD

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Model:
    """What a head answers: the softmax of the sum of both parts' logits, shares folded in."""

    linear: classify.Linear
    kernel: Kernel | None

    def chances(self, rows: Rows, numbers: Rows) -> NDArray[np.float64]:
        logits = self.linear.logits(rows)
        if self.kernel is not None:
            logits = logits + self.kernel.logits(numbers)
        return np.asarray(softmax(logits.astype(np.float32)), np.float64)

    def tensors(self) -> dict[str, NDArray[Any]]:
        return self.linear.tensors() | ({} if self.kernel is None else self.kernel.tensors())


@dataclass(frozen=True, slots=True)
class _Data:
    """Of all images, those fitted on first: labels, pooled taps of each view, own numbers."""

    classes: tuple[str, ...]
    truth: NDArray[np.intp]
    rows: Rows
    numbers: Rows

    def fit(self, count: int, chosen: classify.Chosen, blend: Blend | None, seed: int) -> Model:
        """On the first ``count`` images."""
        truth = self.truth[:count]
        linear = classify.fit_chosen(self.rows[:count], truth, self.classes, chosen)
        if blend is None:
            return Model(linear, None)
        kernel = kernel_fit.fit(
            self.numbers[:count], truth, len(self.classes), blend.gamma, blend.strength, seed
        )
        share, other = blend.linear, np.float32(blend.kernel)
        return Model(
            dataclasses.replace(linear, weight=linear.weight * share, bias=linear.bias * share),
            dataclasses.replace(kernel, weight=kernel.weight * other, bias=kernel.bias * other),
        )


def classification(task: Task, settings: Classification) -> Work:
    samples = [*task.fitted, *task.held]
    count = len(task.fitted)
    classes = classify.order_classes(task.fitted)
    truth = np.array([classes.index(s.label) for s in samples])
    rows = classify.pooled(task.runner, samples, settings, views=settings.views)
    told = task.ticker("cross-validation")
    chosen = classify.choose(rows[:count], task.fitted, settings, task.seed, told)
    numbers, blend = _second_opinion(task, settings, chosen, truth)
    if blend is not None:
        chosen = classify.recalibrated(chosen, blend.logits, classes, truth, settings.escape_cost)
    task.context.say(_words(chosen, blend))
    data = _Data(classes, truth, rows, numbers)
    seen = rows[count:, 0][:, classify.columns(chosen.pooling)], numbers[count:, 0]
    model = data.fit(count, chosen, blend, task.seed)
    chances = model.chances(*seen)
    judged = Judged(
        tuple(s.name for s in task.held),
        tuple(s.label for s in task.held),
        classify.scores_of(classes, chances),
        chosen.threshold,
        classes,
        chances,
    )
    if settings.refit:
        task.ticker("refit")(0, 1)
        model = data.fit(len(samples), chosen, blend, task.seed)
    draft = HeadDraft(
        kind=linear_head.KIND if blend is None else kernel_head.KIND,
        labels=tuple(c for c in classes if c != GOOD),
        threshold=chosen.threshold,
        pixel_threshold=0.5,
        geometry=classify.geometry_of(settings),
        tensors=model.tensors(),
        own={"classes": list(classes), "features": chosen.pooling.to_manifest()},
    )
    expected = classify.scores_of(classes, model.chances(*seen))
    return Work(judged, draft, expected, _choices(chosen, blend))


def _second_opinion(
    task: Task, settings: Classification, chosen: classify.Chosen, truth: NDArray[np.intp]
) -> tuple[Rows, Blend | None]:
    """The images' own numbers, empty where they are not asked for, and how much they count."""
    samples = [*task.fitted, *task.held]
    if chosen.loss < kernel_fit.LOSS_ENOUGH:
        return np.empty((len(samples), 1, 0), np.float32), None
    geometry = classify.geometry_of(settings)
    numbers = kernel_fit.appearances(
        samples, geometry, settings.brightness, task.seed, task.ticker("appearance")
    )
    count = len(task.fitted)
    blend = kernel_fit.choose(
        numbers[:count],
        truth[:count],
        chosen.logits,
        chosen.told,
        classify.folds(task.fitted, settings.folds, task.seed),
        task.seed,
        task.ticker("second opinion"),
    )
    return numbers, blend


def _words(chosen: classify.Chosen, blend: Blend | None) -> str:
    shares = ", ".join(f"{m.features} {m.share:.0%}" for m in chosen.members)
    own = "" if blend is None else "; beside it the picture's own numbers"
    return f"features: {shares}{own}; accuracy in cross-validation {chosen.accuracy:.3f}"


def _choices(chosen: classify.Chosen, blend: Blend | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "members": [dataclasses.asdict(member) for member in chosen.members],
        "log_loss_by_strength": chosen.tried,
        "temperature": round(chosen.temperature, 4),
        "cross_validation_accuracy": chosen.accuracy,
    }
    if blend is not None:
        found["kernel"] = {
            "share": blend.kernel,
            "share_of_linear": blend.linear,
            "gamma": blend.gamma,
            "strength": blend.strength,
        }
    return found
