"""The one door: a folder or a zip in any known layout becomes an ``ImageDataset``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.coco import coco_files, read_coco
from xingyue_adapters.datasets.drafts import Draft, Layout, counted, listed, note
from xingyue_adapters.datasets.folders import read_folders
from xingyue_adapters.datasets.groups import groups_from_names, merge_groups
from xingyue_adapters.datasets.manifest import NAME, names_labels, read_manifest
from xingyue_adapters.datasets.masks import draw_mask
from xingyue_adapters.datasets.pictures import Fault, Picture, Pictures
from xingyue_adapters.datasets.samples import ImageDataset, ImageSample
from xingyue_adapters.datasets.tree import Tree, digest_of, is_note, walk
from xingyue_adapters.datasets.voc import read_voc
from xingyue_adapters.datasets.yolo import looks_like_yolo, read_yolo
from xingyue_adapters.datasets.zips import unpack_new

LAYOUTS = (
    "good/ beside one folder per defect (masks/ optional), manifest.csv (file,label), COCO JSON, "
    "Pascal VOC XML or YOLO text, as a folder or one .zip"
)


def open_images(
    data: Path,
    scratch: Path,
    *,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ImageDataset:
    """Read the data set at ``data``: a folder, a ``.zip``, or a folder that holds one ``.zip``.

    Every image is decoded once; those that can't be are left out and named in ``unreadable``.
    Pictures with equal content share a group, whatever their names say. ``scratch`` takes the
    unpacked zip and masks drawn from polygons. ``check`` is called between files, ``progress``
    with files done and in all.

    ``InvalidRequest`` (param ``data``) where this is no data set at all, a label file is broken,
    or the zip is refused.
    """
    tree = walk(_folder(data, scratch, check))
    pictures = Pictures()
    images = tree.images()
    for done, path in enumerate(images.values(), 1):
        check()
        pictures.look(path)
        progress(done, len(images))
    if not images:
        raise InvalidRequest(f"the data set holds no images; send {LAYOUTS}", param="data")
    layout = _read_layout(tree, pictures)
    unreadable: dict[str, str] = {}
    kept: list[tuple[Draft, Picture]] = []
    for draft in sorted(_one_each(layout), key=lambda draft: draft.name):
        seen = pictures.look(draft.path)
        if isinstance(seen, Fault):
            unreadable[draft.name] = seen.reason
        else:
            kept.append((draft, seen))
    _note_faults(layout, [d for d in layout.drafts if d.name in unreadable], pictures, tree)
    groups, grouped_by = _groups(layout, kept)
    samples = []
    for (draft, seen), group in zip(kept, groups, strict=True):
        check()
        samples.append(_sample(draft, seen, group, scratch))
    digest = digest_of(tree, pictures.hashes(), check)
    notes = tuple(layout.notes)
    return ImageDataset(
        tuple(samples), layout.kind, digest, tree.root, unreadable, notes, grouped_by
    )


def _folder(data: Path, scratch: Path, check: Callable[[], None]) -> Path:
    if data.is_dir():
        files = [path for path in data.iterdir() if not is_note(path.name)]
        if len(files) != 1 or files[0].suffix.lower() != ".zip":
            return data
        data = files[0]
    if data.suffix.lower() != ".zip":
        raise InvalidRequest(
            f"{data.name} is no data set; send {LAYOUTS}", param="data", code="unknown_layout"
        )
    return unpack_new(data, scratch, check)


def _read_layout(tree: Tree, pictures: Pictures) -> Layout:
    if NAME in tree.files and (names_labels(tree) or not _has_label_files(tree)):
        return read_manifest(tree, pictures)
    if coco_files(tree):
        return read_coco(tree)
    if tree.find(".xml"):
        return read_voc(tree)
    if looks_like_yolo(tree):
        return read_yolo(tree, pictures)
    layout = read_folders(tree)
    if not layout.drafts:
        raise InvalidRequest(
            f"the images have no labels; send {LAYOUTS}", param="data", code="unknown_layout"
        )
    return layout


def _has_label_files(tree: Tree) -> bool:
    return bool(coco_files(tree) or tree.find(".xml")) or looks_like_yolo(tree)


def _one_each(layout: Layout) -> list[Draft]:
    """One draft per file: the label lists may name one twice."""
    first: dict[str, Draft] = {}
    contradicted = []
    for draft in layout.drafts:
        known = first.setdefault(draft.name, draft)
        if known.label != draft.label:
            contradicted.append(draft.name)
    if contradicted:
        names = sorted(set(contradicted))
        layout.notes.append(
            note(
                "error",
                "contradicting_labels",
                f"{counted(len(names), 'file')} listed with two labels ({listed(names)}); keep one",
                names,
            )
        )
    layout.drafts = list(first.values())
    return layout.drafts


def _note_faults(layout: Layout, faulty: list[Draft], pictures: Pictures, tree: Tree) -> None:
    refused: list[tuple[str, str]] = []
    damaged: list[tuple[str, str]] = []
    for draft in faulty:
        seen = pictures.look(draft.path)
        assert isinstance(seen, Fault)
        (refused if seen.refused else damaged).append((draft.name, seen.reason))
    if refused:
        words = listed([f"{name}: {reason}" for name, reason in refused])
        layout.notes.append(
            note(
                "error",
                "image_too_large",
                f"{counted(len(refused), 'image')} larger than is taken ({words}); scale down "
                "or cut into tiles",
                [name for name, _ in refused],
            )
        )
    if damaged:
        words = listed([f"{name}: {reason}" for name, reason in damaged])
        many = len(damaged) * 10 > len(layout.drafts)
        layout.notes.append(
            note(
                "error" if many else "warning",
                "unreadable_file",
                f"{counted(len(damaged), 'image')} unreadable ({words}); "
                + ("more than a tenth: send the set again" if many else "left out"),
                [name for name, _ in damaged],
            )
        )
    if tree.links:
        layout.notes.append(
            note(
                "warning",
                "links_ignored",
                f"{counted(len(tree.links), 'link')} not followed ({listed(tree.links)}); send "
                "the files themselves",
                tree.links,
            )
        )


def _groups(layout: Layout, kept: list[tuple[Draft, Picture]]) -> tuple[list[str], str]:
    if layout.group_column:
        groups = [draft.group or draft.name for draft, _ in kept]
        source = f"column {layout.group_column}"
    else:
        named, source = groups_from_names({draft.name: draft.label for draft, _ in kept})
        groups = [named[draft.name] for draft, _ in kept]
    same: dict[str, list[int]] = defaultdict(list)
    for index, (_, seen) in enumerate(kept):
        same[seen.sha256].append(index)
    pairs = [(places[0], other) for places in same.values() for other in places[1:]]
    return merge_groups(groups, pairs), source


def _sample(draft: Draft, seen: Picture, group: str, scratch: Path) -> ImageSample:
    mask = draft.mask
    if mask is None and draft.polygons:
        size = (seen.width, seen.height)
        mask = draw_mask(draft.polygons, size, scratch / "drawn-masks", str(draft.path))
    return ImageSample(
        draft.path, draft.name, draft.label, group, mask, draft.boxes, draft.split,
        seen.width, seen.height, seen.sha256, seen.fingerprint,
    )  # fmt: skip
