"""Findings on masks and boxes: another size, empty, outside the image, missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from xingyue.contract import DatasetNote
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.drafts import counted, listed, note
from xingyue_adapters.datasets.masks import read_mask
from xingyue_adapters.datasets.samples import Box, ImageDataset, ImageSample

_SLACK_PX = 1.0
"""Tools count edges from 0 or from 1: one pixel outside is rounding."""


def outline_notes(
    dataset: ImageDataset,
    *,
    masks_min: int,
    boxes_count: bool,
    method: str,
    check: Callable[[], None],
) -> Iterator[DatasetNote]:
    """``masks_min`` > 0: the method needs so many outlined defects."""
    broken, empty, on_good, usable = [], [], [], 0
    for sample in dataset.samples:
        check()
        state = _mask_state(sample)
        if isinstance(state, str):
            broken.append((sample.name, state))
        elif state is False and sample.defective:
            empty.append(sample.name)
        elif state is True and not sample.defective:
            on_good.append(sample.name)
        usable += sample.defective and (
            state is True or (boxes_count and any(_area(box) > 0 for box in sample.boxes))
        )
    if broken:
        yield note(
            "error",
            "bad_mask",
            f"{counted(len(broken), 'mask')} unusable: {listed([why for _, why in broken], 3)}",
            [name for name, _ in broken],
        )
    if empty:
        yield note(
            "warning",
            "empty_mask",
            f"{counted(len(empty), 'defect image')} with an empty mask ({listed(empty)}): they "
            "count as defects, but not for the outline",
            empty,
        )
    if on_good:
        yield note(
            "error",
            "mask_on_good_part",
            f"{counted(len(on_good), 'good part')} with a defect drawn in the mask "
            f"({listed(on_good)}); move it to the defect's folder or empty the mask",
            on_good,
        )
    yield from _boxes_outside(dataset)
    if usable < masks_min:
        yield note(
            "error",
            "too_few_masks",
            f"{method} needs {counted(masks_min, 'defect image')} or more with an outline, this "
            f"set has {usable}; put masks/<defect>/<image's name>.png beside the folders",
        )


def _mask_state(sample: ImageSample) -> bool | str | None:
    """Whether the mask shows a defect; why it can't be used; None without a mask."""
    try:
        mask = read_mask(sample)
    except InvalidRequest as error:
        named = sample.mask.name if sample.mask is not None else sample.name
        return error.message if named in error.message else f"mask {named}: {error.message}"
    return None if mask is None else bool(mask.any())


def _boxes_outside(dataset: ImageDataset) -> Iterator[DatasetNote]:
    outside, flat = [], []
    for sample in dataset.samples:
        for box in sample.boxes:
            if (
                min(box.x_min, box.y_min) < -_SLACK_PX
                or box.x_max > sample.width + _SLACK_PX
                or box.y_max > sample.height + _SLACK_PX
            ):
                outside.append(sample.name)
            if _area(box) <= 0:
                flat.append(sample.name)
    for names, code, what in (
        (outside, "box_outside_image", "reaching outside the image"),
        (flat, "empty_box", "without any area"),
    ):
        if names:
            files = list(dict.fromkeys(names))
            yield note(
                "warning",
                code,
                f"{counted(len(names), 'box')} {what} ({listed(files)}); was the image resized "
                "after labelling?",
                files,
            )


def _area(box: Box) -> float:
    return max(0.0, box.x_max - box.x_min) * max(0.0, box.y_max - box.y_min)
