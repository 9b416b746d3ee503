"""Folders: ``good/`` beside one folder per defect, with optional masks.

Also taken: the same below ``train/`` and ``test/`` or ``val/`` (then each sample knows its side),
masks in ``masks/`` or ``ground_truth/`` named like the image, ``_mask`` appended or not.
"""

from __future__ import annotations

import os
from pathlib import Path

from xingyue_adapters.datasets.drafts import Draft, Layout, counted, listed, note
from xingyue_adapters.datasets.samples import canonical_label
from xingyue_adapters.datasets.tree import Tree

MASK_FOLDERS = frozenset({"masks", "mask", "ground_truth", "annotations_masks"})
SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val",
          "validation": "val", "test": "val"}  # fmt: skip


def read_folders(tree: Tree) -> Layout:
    """One draft per image below a class folder. Images at the top have no class: a note."""
    images = {n: p for n, p in tree.images().items() if not _in_masks(n)}
    masks = {n: p for n, p in tree.images().items() if _in_masks(n)}
    splitted = bool(images) and all(
        name.split("/")[0].lower() in SPLITS and name.count("/") >= 2 for name in images
    )
    by_stem = _index_masks(masks, splitted=splitted)
    drafts, loose, used = [], [], set()
    for name, path in images.items():
        parts = name.split("/")
        split = SPLITS[parts[0].lower()] if splitted else ""
        folder = parts[1 if splitted else 0]
        if len(parts) == 1:
            loose.append(name)
            continue
        mask_name = by_stem.get((folder, os.path.splitext(parts[-1])[0]))
        mask: Path | None = None
        if mask_name is not None:
            used.add(mask_name)
            mask = masks[mask_name]
        drafts.append(Draft(name, path, canonical_label(folder), mask=mask, split=split))
    layout = Layout("masks" if masks else "folder-of-classes", drafts)
    _note_leftovers(layout, loose, sorted(set(masks) - used))
    return layout


def _in_masks(name: str) -> bool:
    return any(part.lower() in MASK_FOLDERS for part in name.split("/")[:-1])


def _index_masks(masks: dict[str, Path], *, splitted: bool) -> dict[tuple[str, str], str]:
    """(class folder, image's stem) -> the mask's name."""
    found = {}
    for name in masks:
        parts = name.split("/")
        stem = os.path.splitext(parts[-1])[0]
        found[(parts[-2], stem)] = name
        if stem.endswith("_mask"):
            found.setdefault((parts[-2], stem.removesuffix("_mask")), name)
    return found


def _note_leftovers(layout: Layout, loose: list[str], unused: list[str]) -> None:
    if loose:
        layout.notes.append(
            note(
                "error",
                "unlabelled_files",
                f"{counted(len(loose), 'image')} at the top of the data set "
                f"({listed(loose)}) in no class folder; move good parts into good/ and "
                "each kind of defect into a folder of its own name",
                loose,
            )
        )
    if unused:
        layout.notes.append(
            note(
                "warning",
                "mask_for_unknown_image",
                f"{counted(len(unused), 'mask')} without an image of the same name "
                f"({listed(unused)}); a mask of <defect>/part1.jpg is masks/<defect>/part1.png",
                unused,
            )
        )
