"""Is a set of JSON lines fit for training? The same words and rules as for images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from xingyue.contract import DatasetNote, DatasetReport
from xingyue_adapters.datasets.drafts import counted, listed, note


class Line(Protocol):
    """A line that asks something and has what answers it."""

    @property
    def name(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def group(self) -> str: ...
    @property
    def asked(self) -> str: ...
    @property
    def answer(self) -> str: ...


class Lines(Protocol):
    @property
    def samples(self) -> Sequence[Line]: ...
    @property
    def kind(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def unreadable(self) -> Mapping[str, str]: ...


def report_texts(
    dataset: Lines,
    *,
    samples_min: int,
    method: str = "this training",
    validation: Lines | None = None,
    several_answers: bool = False,
) -> DatasetReport:
    """``samples_min``: readable lines needed. Classes are the kinds of line. ``several_answers``:
    a question may well have more than one."""
    notes = [*_broken(dataset), *_amount(dataset, samples_min, method), *_repeats(dataset)]
    if not several_answers:
        notes += _contradictions(dataset)
    if validation is not None:
        notes += _leakage(dataset, validation)
    order = {"error": 0, "warning": 1, "info": 2}
    notes.sort(key=lambda found: order[found.severity])
    classes = dict(sorted(Counter(sample.label for sample in dataset.samples).items()))
    return DatasetReport(dataset.digest, dataset.kind, len(dataset.samples), classes, tuple(notes))


def _broken(dataset: Lines) -> Iterator[DatasetNote]:
    if dataset.unreadable:
        words = listed([f"{name} {why}" for name, why in dataset.unreadable.items()], 3)
        total = len(dataset.unreadable) + len(dataset.samples)
        many = len(dataset.unreadable) * 10 > total
        yield note(
            "error" if many else "warning",
            "unreadable_line",
            f"{counted(len(dataset.unreadable), 'line')} unusable ({words}); "
            + ("more than a tenth: correct the file" if many else "left out"),
            list(dataset.unreadable),
        )


def _amount(dataset: Lines, samples_min: int, method: str) -> Iterator[DatasetNote]:
    have = len(dataset.samples)
    if have < samples_min:
        yield note(
            "error",
            "too_few_samples",
            f"{method} needs {counted(samples_min, 'usable line')} or more, this set has {have}; "
            f"add {samples_min - have}",
        )


def _repeats(dataset: Lines) -> Iterator[DatasetNote]:
    seen: set[tuple[str, str]] = set()
    repeated = []
    for sample in dataset.samples:
        if (sample.asked, sample.answer) in seen:
            repeated.append(sample.name)
        seen.add((sample.asked, sample.answer))
    if repeated:
        yield note(
            "warning",
            "duplicates",
            f"{counted(len(repeated), 'line')} there twice ({listed(repeated)}); they add nothing",
            repeated,
        )


def _contradictions(dataset: Lines) -> Iterator[DatasetNote]:
    answers: dict[str, set[str]] = defaultdict(set)
    for sample in dataset.samples:
        answers[sample.asked].add(sample.answer)
    torn = [sample.name for sample in dataset.samples if len(answers[sample.asked]) > 1]
    if torn:
        yield note(
            "warning",
            "contradicting_answers",
            f"{counted(len(torn), 'line')} with one question and different answers "
            f"({listed(torn)}); keep the right one",
            torn,
        )


def _leakage(dataset: Lines, validation: Lines) -> Iterator[DatasetNote]:
    asked = {sample.asked for sample in dataset.samples}
    groups = {sample.group for sample in dataset.samples}
    same = [sample.name for sample in validation.samples if sample.asked in asked]
    if same:
        yield note(
            "error",
            "split_leakage",
            f"{counted(len(same), 'line')} of the validation set also in the training set "
            f"({listed(same)}); take them out of one",
            same,
        )
    near = [s.name for s in validation.samples if s.group in groups and s.name not in set(same)]
    if near:
        yield note(
            "warning",
            "split_leakage",
            f"{counted(len(near), 'line')} of the validation set on a group or context of the "
            f"training set ({listed(near)}); keep each on one side",
            near,
        )
