"""One fit, from a tenant's folder to a head and a report. Methods differ in ``work``; the rest is
the same for all: read and judge the data, split by group, measure, export, check parity, report.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import DatasetReport, FitContext, FitResult
from xingyue_adapters.datasets import (
    ImageDataset,
    ImageSample,
    Needs,
    open_images,
    report_images,
    split_by_group,
)
from xingyue_adapters.fit_report import LICENCE, hear
from xingyue_adapters.surface_tuning.export import PARITY_MAX, HeadDraft, parity, write_head
from xingyue_adapters.surface_tuning.features import TrunkRunner
from xingyue_adapters.surface_tuning.hyperparameters import Common
from xingyue_adapters.surface_tuning.measures import Judged, measures
from xingyue_adapters.surface_tuning.report import Facts, write_report

RECIPE = "surface-inspection"


@dataclass(frozen=True, slots=True)
class Task:
    """What a method gets. ``held`` is empty only where nothing could be held out."""

    context: FitContext
    runner: TrunkRunner
    fitted: list[ImageSample]
    held: list[ImageSample]
    seed: int

    def ticker(self, stage: str) -> Callable[[int, int], None]:
        """What a stage calls with steps done and steps in all; raises ``Cancelled``."""

        def tick(done: int, total: int) -> None:
            self.context.check()
            self.context.progress(stage, done, total)

        return tick


@dataclass(frozen=True, slots=True)
class Work:
    """What a method hands back.

    ``judged``    the held-out images, answered by the head fitted on the others
    ``draft``     the head that is shipped
    ``expected``  its scores of ``Task.held`` as the fitted model gives them, for the parity gate
    ``choices``   what was settled on the way, for the manifest and the report
    """

    judged: Judged
    draft: HeadDraft
    expected: NDArray[np.float64]
    choices: Mapping[str, Any]


Method = Callable[[Task, Any], Work]


def run(
    context: FitContext, dataset: ImageDataset, method: Method, settings: Common, needs: Needs
) -> FitResult:
    """``InvalidRequest`` in the words of the data set's first error; ``Cancelled`` passes."""
    started = time.monotonic()
    report, fitted, held = _divide(context, dataset, settings, needs)
    context.say(
        f"{report.samples} images, {len(fitted)} to fit on and {len(held)} held out by group"
    )
    runner = TrunkRunner(context)
    try:
        work = method(Task(context, runner, fitted, held, context.seed), settings)
    finally:
        runner.close()
    found = measures(work.judged)
    facts = _facts(context, runner.digest, dataset, settings, work, found)
    head = write_head(work.draft, facts, context.out / "head")
    worst = parity(context, head, held, work.expected.tolist())
    context.say(f"served and fitted scores differ by {worst:.1e} at most (allowed {PARITY_MAX:g})")
    result = FitResult(head, context.out / "report", report, found, worst, PARITY_MAX)
    split = Facts(
        settings=dataclasses.asdict(settings),
        seconds=round(time.monotonic() - started, 1),
        fitted_on=_counts(fitted),
        held_out=_counts(held),
        grouped_by=dataset.grouped_by,
    )
    write_report(context, result, work, held, split)
    return result


def _divide(
    context: FitContext, dataset: ImageDataset, settings: Common, needs: Needs
) -> tuple[DatasetReport, list[ImageSample], list[ImageSample]]:
    """The report, and the sides: the sender's own validation set, else the sides that its folders
    give, else a split by group."""
    given = None
    if context.validation is not None:
        given = open_dataset(context, context.validation, "validation")
    report = report_images(dataset, needs=needs, validation=given)
    hear(context, report)
    if given is not None:
        return report, list(dataset.samples), list(given.samples)
    marked = [s for s in dataset.samples if s.split == "val"]
    rest = [s for s in dataset.samples if s.split != "val"]
    if marked and rest:
        missing = sorted({s.label for s in marked} - {s.label for s in rest})
        if not needs.labels_fitted or not missing:
            return report, rest, marked
        context.say(
            f"warning: the training folder has no {', '.join(missing)}; all images are divided "
            "anew, by group, so that every label is on both sides"
        )
    fitted, held = split_by_group(dataset.samples, share=settings.held_out, seed=context.seed)
    return report, fitted, held


def open_dataset(context: FitContext, path: Path, name: str) -> ImageDataset:
    scratch = context.scratch / name
    scratch.mkdir(parents=True, exist_ok=True)
    return open_images(
        path,
        scratch,
        check=context.check,
        progress=lambda done, total: context.progress("reading", done, total),
    )


def _facts(
    context: FitContext,
    trunk_sha256: str,
    dataset: ImageDataset,
    settings: Common,
    work: Work,
    found: Mapping[str, float],
) -> dict[str, Any]:
    return {
        "trunk": {"sha256": trunk_sha256},
        "recipe": {
            "name": RECIPE,
            "method": context.method,
            "hyperparameters": dataclasses.asdict(settings),
            "seed": context.seed,
            "choices": dict(work.choices),
        },
        "dataset": {"digest": dataset.digest, "kind": dataset.kind, "images": dataset.counts},
        "metrics": dict(found),
        "licence": dict(LICENCE),
    }


def _counts(samples: Sequence[ImageSample]) -> dict[str, Any]:
    labels = sorted({s.label for s in samples})
    return {
        "images": len(samples),
        "groups": len({s.group for s in samples}),
        "labels": {c: sum(s.label == c for s in samples) for c in labels},
    }
