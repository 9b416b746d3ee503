"""Is this data set fit for the training asked for? In words that a factory engineer can act on.

An ``error`` refuses the training and says what is needed; a ``warning`` trains, and says what the
numbers will then be worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from xingyue.contract import DatasetNote, DatasetReport
from xingyue_adapters.datasets.drafts import counted, listed, note
from xingyue_adapters.datasets.duplicates import exact_duplicates, near_duplicates
from xingyue_adapters.datasets.leakage import leakage_between, leakage_within
from xingyue_adapters.datasets.outlines import outline_notes
from xingyue_adapters.datasets.samples import GOOD, ImageDataset

IMBALANCE_WARN = 10.0


@dataclass(frozen=True, slots=True)
class Needs:
    """What a method asks of its data; 0 asks nothing.

    ``classes_min``    different labels, ``good`` among them
    ``per_class_min``  images of each label
    ``good_min``       images of good parts; fewer than ``good_advised`` are warned of
    ``defects_min``    images of defects, all kinds together
    ``groups_min``     different groups in all: one can't hold out a part of one
    ``labels_fitted``  whether labels are learned, so that one must be in the training set
    ``masks_min``      defect images with an outline; ``boxes_count`` takes boxes for one
    """

    method: str = "this training"
    classes_min: int = 0
    per_class_min: int = 0
    good_min: int = 0
    good_advised: int = 0
    defects_min: int = 0
    groups_min: int = 2
    labels_fitted: bool = True
    masks_required: bool = False
    masks_min: int = 1
    boxes_count: bool = False


def report_images(
    dataset: ImageDataset,
    *,
    needs: Needs,
    validation: ImageDataset | None = None,
    check: Callable[[], None] = lambda: None,
) -> DatasetReport:
    """Counts, classes and every finding: the reader's, the pictures', the method's.

    ``validation``: the sender's own held-out set; leakage into it is an error. ``check`` is called
    between masks.
    """
    notes = [
        *dataset.notes,
        *_amounts(dataset, needs),
        *_balance(dataset),
        *_duplicates(dataset),
        *_groups(dataset),
        *outline_notes(
            dataset,
            masks_min=needs.masks_min if needs.masks_required else 0,
            boxes_count=needs.boxes_count,
            method=needs.method,
            check=check,
        ),
        *leakage_within(dataset),
    ]
    if validation is not None:
        notes += [replace(n, message=f"validation set: {n.message}") for n in validation.notes]
        notes += report_leakage(dataset, validation, labels_fitted=needs.labels_fitted)
    order = {"error": 0, "warning": 1, "info": 2}
    notes.sort(key=lambda found: order[found.severity])
    return DatasetReport(
        dataset.digest, dataset.kind, len(dataset.samples), dataset.counts, tuple(notes)
    )


def report_leakage(
    fitted_on: ImageDataset, validation: ImageDataset, *, labels_fitted: bool = True
) -> tuple[DatasetNote, ...]:
    """What is on both sides, which would make the measured accuracy a fiction; and labels of the
    validation that the training lacks, where it learns labels."""
    notes = list(leakage_between(fitted_on, validation))
    unknown = sorted(set(validation.counts) - set(fitted_on.counts))
    if unknown and labels_fitted:
        notes.append(
            note(
                "error",
                "unknown_class",
                f"the validation set has labels that the training set lacks ({listed(unknown)}); "
                "add training images of them, or take them out",
            )
        )
    return tuple(notes)


def _amounts(dataset: ImageDataset, needs: Needs) -> Iterator[DatasetNote]:
    counts = dataset.counts
    good = counts.get(GOOD, 0)
    defects = len(dataset.samples) - good
    if not dataset.samples:
        yield note("error", "no_samples", "no readable image has a label; nothing can be trained")
        return
    if len(counts) < needs.classes_min:
        yield note(
            "error",
            "too_few_classes",
            f"{needs.method} needs {needs.classes_min} classes or more, this set has "
            f"{len(counts)} ({listed(sorted(counts))}); add a folder per further class"
            + ("" if good else ", good parts in good/"),
        )
    for label, wanted in ((GOOD, needs.good_min), ("", needs.defects_min)):
        have = good if label else defects
        if have < wanted:
            yield _too_few("good parts" if label else "defects", have, wanted, needs)
    if needs.good_min <= good < needs.good_advised:
        yield note(
            "warning",
            "few_good_parts",
            f"{counted(good, 'image')} of good parts: {needs.method} works from {needs.good_min}, "
            f"{needs.good_advised} are recommended; with so few the threshold is rough, so look at "
            f"the first verdicts, or add {needs.good_advised - good}",
        )
    for label, have in counts.items():
        if have < needs.per_class_min and not (label == GOOD and have < needs.good_min):
            yield _too_few(f"{label!r}", have, needs.per_class_min, needs)
    groups = len({sample.group for sample in dataset.samples})
    if groups < needs.groups_min <= len(dataset.samples):
        yield note(
            "error",
            "too_few_groups",
            f"all images are of {counted(groups, 'group')} ({dataset.grouped_by}), and "
            f"{needs.method} needs {needs.groups_min}: with one part on both sides of a split "
            "nothing honest can be measured; add images of other parts",
        )


def _too_few(what: str, have: int, wanted: int, needs: Needs) -> DatasetNote:
    return note(
        "error",
        "too_few_samples",
        f"{needs.method} needs {counted(wanted, 'image')} or more of {what}, this set has {have}; "
        f"add {wanted - have}",
    )


def _balance(dataset: ImageDataset) -> Iterator[DatasetNote]:
    counts = dataset.counts
    if len(counts) < 2:
        return
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    if counts[most] > IMBALANCE_WARN * counts[least]:
        yield note(
            "warning",
            "imbalance",
            f"{counts[most]} images of {most!r} against {counts[least]} of {least!r}: what is "
            f"measured on {least!r} will be rough; add images of it",
        )


def _duplicates(dataset: ImageDataset) -> Iterator[DatasetNote]:
    same = exact_duplicates(dataset.samples)
    contradicting = [found for found in same if len({sample.label for sample in found}) > 1]
    if contradicting:
        pairs = [" = ".join(sample.name for sample in found) for found in contradicting]
        yield note(
            "error",
            "contradicting_duplicates",
            f"{counted(len(pairs), 'picture')} under two labels ({listed(pairs, 3)}); keep each "
            "under the right one",
            [sample.name for found in contradicting for sample in found],
        )
    copies = [found for found in same if found not in contradicting]
    if copies:
        extra = [sample.name for found in copies for sample in found[1:]]
        yield note(
            "warning",
            "duplicates",
            f"{counted(len(extra), 'image')} equal to another to the byte ({listed(extra)}); "
            "kept on one side of the split, but they add nothing",
            extra,
        )
    near = near_duplicates(dataset.samples)
    apart = [(a, b) for a, b in near if a.group != b.group]
    if apart:
        yield note(
            "warning",
            "near_duplicates",
            f"{counted(len(apart), 'pair')} of images nearly the same but in different groups "
            f"({listed([f'{a.name} ~ {b.name}' for a, b in apart], 3)}); if they show one part, "
            "say so in a 'group' column of manifest.csv, or the accuracy will look too good",
            list(dict.fromkeys(sample.name for pair in apart for sample in pair)),
        )
    crossing = [(a, b) for a, b in near if a.label != b.label]
    if crossing:
        yield note(
            "warning",
            "similar_but_labelled_apart",
            f"{counted(len(crossing), 'pair')} of images nearly the same under two labels "
            f"({listed([f'{a.name} ~ {b.name}' for a, b in crossing], 3)}); check them",
            list(dict.fromkeys(sample.name for pair in crossing for sample in pair)),
        )


def _groups(dataset: ImageDataset) -> Iterator[DatasetNote]:
    if dataset.grouped_by == "file":
        yield note(
            "info",
            "no_groups",
            "every image counts as a part of its own; if several show one part, name it in a "
            "'group' column of manifest.csv or as part7_1.jpg, part7_2.jpg",
        )
        return
    by_label: dict[str, set[str]] = {}
    for sample in dataset.samples:
        by_label.setdefault(sample.label, set()).add(sample.group)
    single = [label for label, groups in by_label.items() if len(groups) == 1]
    if single and len(dataset.samples) > 1:
        yield note(
            "warning",
            "single_group",
            f"all images of {listed([repr(label) for label in sorted(single)])} are of one group "
            f"({dataset.grouped_by}), so none can be held out and accuracy on it is not measured; "
            "add another part",
        )
