"""Notes on labels without an image and images without labels, for COCO, VOC and YOLO alike."""

from __future__ import annotations

from xingyue_adapters.datasets.drafts import Layout, counted, listed, note


def note_unmatched(layout: Layout, labels: list[str], images: list[str], noun: str) -> None:
    """``labels``: label files or entries whose image is missing; ``images``: without a label."""
    if labels:
        layout.notes.append(
            note(
                "warning",
                "label_for_unknown_image",
                f"{counted(len(labels), noun)} without an image ({listed(labels)}); send the "
                "image or take the label away",
                labels,
            )
        )
    if images:
        layout.notes.append(
            note(
                "warning",
                "unlabelled_files",
                f"{counted(len(images), 'image')} without a label ({listed(images)}) left out; "
                "a good part needs an empty label",
                images,
            )
        )
