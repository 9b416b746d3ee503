"""The chats of a tenant: read, judged, split by group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xingyue.contract import DatasetReport, FitContext
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import (
    TextDataset,
    TextSample,
    open_texts,
    report_texts,
    split_by_group,
)
from xingyue_adapters.fit_report import hear
from xingyue_adapters.language_tuning.offer import METHODS

SAMPLES_MIN = 20
GROUPS_MIN = 2


def validate(data: Path, method: str, scratch: Path) -> DatasetReport:
    """Judge ``data``; ``InvalidRequest`` where it is no data set at all."""
    check_known(method)
    return report_texts(open_texts(data, scratch), samples_min=SAMPLES_MIN, method=method)


def check_known(method: str) -> None:
    if method not in METHODS:
        raise InvalidRequest(
            f"method {method!r} is not known to language models; known are {', '.join(METHODS)}",
            param="method.type",
        )


def divide(
    context: FitContext, held_out: float
) -> tuple[DatasetReport, list[TextSample], list[TextSample]]:
    """The report, what is fitted on and what is held out: the sender's own validation set, else a
    share of whole groups. ``InvalidRequest`` in the words of the first error."""
    dataset = _open(context.data, context.scratch / "data", context.check)
    given = None
    if context.validation is not None:
        given = _open(context.validation, context.scratch / "validation", context.check)
    report = report_texts(dataset, samples_min=SAMPLES_MIN, method=context.method, validation=given)
    hear(context, report)
    if given is not None:
        if not given.samples:
            raise InvalidRequest(
                "the validation set has no usable line", code="too_few_samples", param="validation"
            )
        return report, list(dataset.samples), list(given.samples)
    groups = {sample.group for sample in dataset.samples}
    if len(groups) < GROUPS_MIN:
        raise InvalidRequest(
            f"all chats are of one group ({next(iter(groups))!r}), so none can be held out to "
            "measure on; give group by what belongs together, or send a validation set",
            code="too_few_groups",
            param="data",
        )
    fitted, held = split_by_group(dataset.samples, share=held_out, seed=context.seed)
    return report, fitted, held


def _open(path: Path, scratch: Path, check: Callable[[], None]) -> TextDataset:
    scratch.mkdir(parents=True, exist_ok=True)
    return open_texts(path, scratch, check=check)
