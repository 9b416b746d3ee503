"""The same part on both sides of a split that the sender made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xingyue.contract import DatasetNote
from xingyue_adapters.datasets.drafts import counted, listed, note
from xingyue_adapters.datasets.duplicates import near_duplicates
from xingyue_adapters.datasets.samples import ImageDataset, ImageSample


def leakage_between(fitted_on: ImageDataset, validation: ImageDataset) -> Iterator[DatasetNote]:
    """Errors for equal content and named groups; warnings for look-alikes and guessed groups."""
    known = {sample.sha256 for sample in fitted_on.samples}
    same = [sample.name for sample in validation.samples if sample.sha256 in known]
    if same:
        yield note(
            "error",
            "split_leakage",
            f"{counted(len(same), 'image')} of the validation set also in the training set "
            f"({listed(same)}); take them out of one",
            same,
        )
    named = {fitted_on.grouped_by, validation.grouped_by}
    if "file" not in named:
        shared = _shared(fitted_on.samples, validation.samples)
        if shared:
            told = all(source.startswith("column") for source in named)
            yield note(
                "error" if told else "warning",
                "split_leakage",
                f"{counted(len(shared), 'group')} on both sides, training and validation "
                f"({listed(shared)}; {', '.join(sorted(named))}); keep each part on one side",
                shared,
            )
    alike = near_duplicates(validation.samples, fitted_on.samples)
    if alike:
        yield note(
            "warning",
            "split_leakage",
            f"{counted(len(alike), 'image')} of the validation set nearly the same as one of the "
            f"training set ({listed([f'{a.name} ~ {b.name}' for a, b in alike], 3)}); if they "
            "show one part, keep it on one side",
            [a.name for a, _ in alike],
        )


def leakage_within(dataset: ImageDataset) -> Iterator[DatasetNote]:
    """Groups in both of the sender's own ``train`` and ``val`` folders."""
    sides = {
        side: [sample for sample in dataset.samples if sample.split == side]
        for side in ("train", "val")
    }
    shared = _shared(sides["train"], sides["val"])
    if shared:
        yield note(
            "warning",
            "split_leakage",
            f"{counted(len(shared), 'group')} in both train and val or test folders "
            f"({listed(shared)}); this training makes its own split, by group, but figures "
            "measured on your folders elsewhere were too good",
            shared,
        )


def _shared(left: Sequence[ImageSample], right: Sequence[ImageSample]) -> list[str]:
    return sorted({sample.group for sample in left} & {sample.group for sample in right})
