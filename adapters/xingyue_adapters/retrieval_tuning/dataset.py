"""A tenant's data for a method: read, judged in words, cleaned and split by group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from xingyue.contract import DatasetNote, DatasetReport
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import (
    PairDataset,
    PairSample,
    open_pairs,
    report_texts,
    split_by_group,
)
from xingyue_adapters.datasets.drafts import counted, note
from xingyue_adapters.datasets.groups import merge_groups
from xingyue_adapters.retrieval_tuning.headings import read_documents, with_heading_pairs
from xingyue_adapters.retrieval_tuning.offer import GROUPS_MIN, METHODS, PAIRS_MIN

PAIRS_MAX = 3_000
SIDE_MIN = 5
"""Questions of the held-out side at the least."""


@dataclass(frozen=True, slots=True)
class Given:
    """``method`` is the one that ``supervised`` turned out to be."""

    dataset: PairDataset
    method: str
    notes: Sequence[DatasetNote]


def open_data(data: Path, method: str, scratch: Path, check: Callable[[], None]) -> Given:
    """``InvalidRequest`` for an unknown method, or where ``data`` is no data set of it."""
    if method not in METHODS:
        raise InvalidRequest(
            f"method {method!r} is not known to retrieval; known are {', '.join(METHODS)}",
            param="method.type",
        )
    dataset = open_pairs(data, scratch, check=check)
    if method == "supervised":
        method = "documents" if dataset.kind == "documents" else "pairs"
    if method == "pairs":
        if dataset.kind == "documents":
            raise InvalidRequest(
                "the data set holds documents but no pairs; add a .jsonl of "
                '{"query": "...", "positive": "..."} lines, or use the method "documents"',
                param="data",
            )
        _, notes = read_documents(dataset, check)
        return Given(dataset, method, notes)
    if not dataset.documents:
        raise InvalidRequest(
            'the method "documents" needs documents (PDF, Markdown, text, XML, HTML), and the '
            'data set holds none; send them, or use the method "pairs"',
            param="data",
        )
    made, notes = with_heading_pairs(replace(dataset, unreadable={}), check)
    return Given(made, method, notes)


def report(given: Given, validation: Given | None = None) -> DatasetReport:
    """``samples_min`` and the rest, as for any lines; and what retrieval asks for beside it."""
    found = report_texts(
        given.dataset,
        samples_min=PAIRS_MIN,
        method=f"the method {given.method}",
        validation=None if validation is None else validation.dataset,
        several_answers=True,
    )
    notes = [*found.notes, *given.notes, *_amount(given.dataset.samples)]
    order = {"error": 0, "warning": 1, "info": 2}
    return replace(found, notes=tuple(sorted(notes, key=lambda each: order[each.severity])))


def cleaned(samples: Sequence[PairSample]) -> list[PairSample]:
    """Without repeats, and with one group where lines share a question or a passage."""
    seen: dict[tuple[str, str], PairSample] = {}
    for sample in samples:
        seen.setdefault((sample.query, sample.positive), sample)
    kept = list(seen.values())
    alike = []
    for key in ("query", "positive"):
        first: dict[str, int] = {}
        for place, sample in enumerate(kept):
            alike.append((first.setdefault(getattr(sample, key), place), place))
    groups = merge_groups([sample.group for sample in kept], alike)
    return [replace(sample, group=group) for sample, group in zip(kept, groups, strict=True)]


def divide(
    samples: Sequence[PairSample],
    validation: Sequence[PairSample] | None,
    share: float,
    seed: int,
) -> tuple[list[PairSample], list[PairSample]]:
    """``(fitted on, held out)``: the sender's own validation set, else whole groups.

    ``InvalidRequest`` where too few questions could be held out to measure anything."""
    if validation is not None:
        fitted, held = cleaned(samples), cleaned(validation)
    else:
        fitted, held = split_by_group(cleaned(samples), share=share, seed=seed)
    if len(held) < SIDE_MIN or len({sample.group for sample in fitted}) < 2:
        raise InvalidRequest(
            f"{len(held)} questions could be held out, {SIDE_MIN} are needed to measure on; send "
            "questions on more passages, or a validation set",
            code="too_few_samples",
            param="data",
        )
    return fitted, held


def _amount(samples: Sequence[PairSample]) -> list[DatasetNote]:
    found = []
    groups = len({sample.group for sample in cleaned(samples)})
    if len(samples) > PAIRS_MAX:
        found.append(
            note(
                "error",
                "too_many_samples",
                f"{len(samples)} pairs are more than the {PAIRS_MAX} that this training takes; "
                "send the ones that tell most",
            )
        )
    if samples and groups < GROUPS_MIN:
        found.append(
            note(
                "error",
                "too_few_groups",
                f"the pairs are on {counted(groups, 'group')} (lines that share a question, a "
                f"passage or a 'group' are one); {GROUPS_MIN} are needed to split and to measure "
                "on unseen ones; add questions on other passages",
            )
        )
    return found
