"""Method ``classification``, whole: a linear model of pooled taps, and beside it, where that pays
out of fold, a kernel machine on the picture's own numbers and evidence of hairlines."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue_adapters.surface_tuning import classify, hairline_fit, kernel_fit, stacking
from xingyue_adapters.surface_tuning.export import HeadDraft
from xingyue_adapters.surface_tuning.hairline_fit import Opinion
from xingyue_adapters.surface_tuning.hyperparameters import Classification
from xingyue_adapters.surface_tuning.job import Task, Work
from xingyue_adapters.surface_tuning.kernel_fit import Blend
from xingyue_adapters.surface_tuning.measures import Judged, balanced_weights
from xingyue_models.surface_inspection import hairlines, joint_head, kernel, linear_head
from xingyue_models.surface_inspection.hairlines import Hairlines, Network
from xingyue_models.surface_inspection.kernel import Kernel
from xingyue_models.surface_inspection.linear_head import softmax
from xingyue_models.surface_inspection.manifest import GOOD

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Model:
    """What a head answers: the softmax of the sum of all parts' logits, shares folded in."""

    linear: classify.Linear
    kernel: Kernel | None
    hairlines: Hairlines | None

    def chances(self, seen: _Seen) -> NDArray[np.float64]:
        logits = self.linear.logits(seen.rows)
        if self.kernel is not None:
            logits = logits + self.kernel.of_numbers(seen.numbers)
        if self.hairlines is not None and seen.lines is not None:
            logits = logits + self.hairlines.of_evidence(seen.lines)
        return np.asarray(softmax(logits.astype(np.float32)), np.float64)

    def tensors(self) -> dict[str, NDArray[Any]]:
        found: dict[str, NDArray[Any]] = dict(self.linear.tensors())
        for part in (self.kernel, self.hairlines):
            found |= {} if part is None else part.tensors()
        return found

    def kind(self) -> tuple[str, dict[str, Any]]:
        """And what the manifest says beside it."""
        if self.hairlines is None:
            return (linear_head.KIND if self.kernel is None else joint_head.KERNEL_KIND), {}
        parts = [hairlines.PART] if self.kernel is None else [kernel.PART, hairlines.PART]
        return joint_head.JOINT_KIND, {"parts": parts}


@dataclass(frozen=True, slots=True)
class _Seen:
    """Images as they are served: pooled taps, own numbers, evidence of hairlines."""

    rows: Rows
    numbers: Rows
    lines: Rows | None


@dataclass(frozen=True, slots=True)
class _Lines:
    """How much hairlines count; the part fitted on the good parts of the fitted side, and on all;
    what each one's network says of the held-out images, ``(N, KINDS)``."""

    opinion: Opinion
    fitted: Hairlines
    every: Hairlines
    held: Rows
    held_by_every: Rows


@dataclass(frozen=True, slots=True)
class _Data:
    """Of all images, those fitted on first: labels, pooled taps of each view, own numbers."""

    classes: tuple[str, ...]
    truth: NDArray[np.intp]
    rows: Rows
    numbers: Rows

    def fit(
        self,
        count: int,
        chosen: classify.Chosen,
        blend: Blend | None,
        part: Hairlines | None,
        others: float,
        seed: int,
    ) -> Model:
        """On the first ``count`` images; ``others``: how much counts what is not ``part``."""
        truth = self.truth[:count]
        linear = classify.fit_chosen(self.rows[:count], truth, self.classes, chosen)
        share = others * (1.0 if blend is None else blend.linear)
        linear = dataclasses.replace(linear, weight=linear.weight * share, bias=linear.bias * share)
        if blend is None:
            return Model(linear, None, part)
        found = kernel_fit.fit(
            self.numbers[:count], truth, len(self.classes), blend.gamma, blend.strength, seed
        )
        other = np.float32(blend.kernel * others)
        found = dataclasses.replace(found, weight=found.weight * other, bias=found.bias * other)
        return Model(linear, found, part)


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
    lines = _third_opinion(task, settings, chosen, classes, truth)
    opinion = None if lines is None else lines.opinion
    if opinion is not None:
        chosen = classify.recalibrated(chosen, opinion.logits, classes, truth, settings.escape_cost)
    task.context.say(_words(chosen, blend, opinion))
    data = _Data(classes, truth, rows, numbers)
    others = 1.0 if opinion is None else opinion.others
    part = None if lines is None else lines.fitted
    seen = _Seen(
        rows[count:, 0][:, classify.columns(chosen.pooling)],
        numbers[count:, 0],
        None if lines is None else lines.held,
    )
    model = data.fit(count, chosen, blend, part, others, task.seed)
    chances = model.chances(seen)
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
        if lines is not None:
            part, seen = lines.every, dataclasses.replace(seen, lines=lines.held_by_every)
        model = data.fit(len(samples), chosen, blend, part, others, task.seed)
    kind, own = model.kind()
    draft = HeadDraft(
        kind=kind,
        labels=tuple(c for c in classes if c != GOOD),
        threshold=chosen.threshold,
        pixel_threshold=0.5,
        geometry=classify.geometry_of(settings),
        tensors=model.tensors(),
        own={"classes": list(classes), "features": chosen.pooling.to_manifest(), **own},
    )
    expected = classify.scores_of(classes, model.chances(seen))
    return Work(judged, draft, expected, _choices(chosen, blend, opinion))


def _second_opinion(
    task: Task, settings: Classification, chosen: classify.Chosen, truth: NDArray[np.intp]
) -> tuple[Rows, Blend | None]:
    """The images' own numbers, empty where they are not asked for, and how much they count."""
    samples = [*task.fitted, *task.held]
    if chosen.loss < stacking.LOSS_ENOUGH:
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


def _third_opinion(
    task: Task,
    settings: Classification,
    chosen: classify.Chosen,
    classes: tuple[str, ...],
    truth: NDArray[np.intp],
) -> _Lines | None:
    """Asked where good parts are there to be painted over, and where what is there errs."""
    count, seed = len(task.fitted), task.seed
    parts = classify.folds(task.fitted, settings.folds, seed)
    own = truth[:count][chosen.told]
    loss = stacking.loss(chosen.logits, own, balanced_weights(own.tolist()))
    good = np.flatnonzero(truth == classes.index(GOOD)) if GOOD in classes else truth[:0]
    fewest = min((np.isin(fitted, good).sum() for fitted, _ in parts), default=0)
    if loss < stacking.LOSS_ENOUGH or fewest < hairline_fit.GOOD_MIN:
        return None
    samples, geometry = [*task.fitted, *task.held], classify.geometry_of(settings)
    tell = task.ticker("hairlines, fit")
    cells = hairline_fit.paint_over(task.runner, [samples[i] for i in good], geometry, seed)

    def network(known: NDArray[np.intp]) -> Network:
        mine = np.isin(good, known)
        return hairline_fit.fit([part for part in cells if mine[part.sample]], seed, tell)

    fitted, every = network(np.arange(count)), network(np.arange(len(samples)))
    networks: list[list[Network]] = [[fitted, every] for _ in samples]
    for known, left in parts:
        unseen = network(known)
        for index in left:
            networks[index] = [unseen]
    found = hairline_fit.ask(task.runner, samples, geometry, networks)
    told = np.stack([rows[0] for rows in found[:count]])
    opinion = hairline_fit.choose(told, truth[:count], chosen.logits, chosen.told, parts)
    if opinion is None:
        return None
    held, by_every = (
        np.array([rows[which] for rows in found[count:]], np.float32).reshape(-1, hairlines.KINDS)
        for which in (0, 1)
    )
    return _Lines(opinion, opinion.part(fitted), opinion.part(every), held, by_every)


def _words(chosen: classify.Chosen, blend: Blend | None, opinion: Opinion | None) -> str:
    shares = ", ".join(f"{m.features} {m.share:.0%}" for m in chosen.members)
    beside = [] if blend is None else ["the picture's own numbers"]
    beside += [] if opinion is None else ["evidence of hairlines"]
    own = f"; beside it {' and '.join(beside)}" if beside else ""
    return f"features: {shares}{own}; accuracy in cross-validation {chosen.accuracy:.3f}"


def _choices(
    chosen: classify.Chosen, blend: Blend | None, opinion: Opinion | None
) -> dict[str, Any]:
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
    if opinion is not None:
        found["hairlines"] = {"share": opinion.own, "share_of_others": opinion.others}
    return found
