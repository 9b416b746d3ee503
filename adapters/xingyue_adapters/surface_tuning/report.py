"""The report of a fit: ``report.json`` for machines, pictures for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xingyue.contract import FitContext, FitResult
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.fit_report import dataset_facts, write_json
from xingyue_adapters.surface_tuning import pictures
from xingyue_adapters.surface_tuning.measures import confusion, per_class

if TYPE_CHECKING:
    from xingyue_adapters.surface_tuning.job import Work

POLICY = {
    True: "the numbers are of a head fitted without the held-out images; the shipped head was then "
    "fitted again on all images, with equal settings and threshold",
    False: "the shipped head is the one that was measured",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """``fitted_on`` and ``held_out`` count images, groups and labels."""

    settings: Mapping[str, Any]
    seconds: float
    fitted_on: Mapping[str, Any]
    held_out: Mapping[str, Any]
    grouped_by: str


def write_report(
    context: FitContext,
    result: FitResult,
    work: Work,
    held: Sequence[ImageSample],
    facts: Facts,
) -> None:
    """Fill ``result.report``. Pictures that need good parts are left out where there are none."""
    folder = result.report
    folder.mkdir(parents=True, exist_ok=True)
    context.progress("report", 0, 1)
    labels, counts = confusion(work.judged)
    body = {
        "method": context.method,
        "hyperparameters": dict(facts.settings),
        "seed": context.seed,
        "metrics": dict(result.metrics),
        "threshold": work.judged.threshold,
        "classes": per_class(work.judged),
        "confusion": {"labels": labels, "rows_truth_columns_said": counts},
        "split": {
            "by": facts.grouped_by,
            "fitted_on": dict(facts.fitted_on),
            "held_out": dict(facts.held_out),
        },
        "choices": dict(work.choices),
        "refit": POLICY[bool(facts.settings["refit"])],
        "parity": {"largest_difference": result.parity, "allowed": result.parity_max},
        "head": {
            "kind": work.draft.kind,
            "bytes": sum(values.nbytes for values in work.draft.tensors.values()),
        },
        "dataset": dataset_facts(result.dataset),
        "seconds": facts.seconds,
        "pictures": pictures.draw(context, result, work, held),
    }
    write_json(folder, body)
    context.progress("report", 1, 1)
