"""``manifest.csv``: one row per image, ``file`` and ``label``, and what else the sender knows.

Known further columns: a group (``group``, ``photo``, ``part``, ``lot``, ``*_group``, ...), ``mask``
(an image), ``annotation`` (a VOC file), ``yolo`` (a YOLO file, boxes or polygons), ``split``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import PurePosixPath

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.drafts import Draft, Layout, counted, listed, note
from xingyue_adapters.datasets.folders import SPLITS
from xingyue_adapters.datasets.pictures import Pictures
from xingyue_adapters.datasets.samples import canonical_label
from xingyue_adapters.datasets.tree import Tree, read_text
from xingyue_adapters.datasets.voc import read_annotation
from xingyue_adapters.datasets.yolo import read_labels

NAME = "manifest.csv"
_FILE = ("file", "filename", "file_name", "image", "path")
_LABEL = ("label", "class", "category")
_GROUP = ("group", "photo", "part", "part_id", "serial", "sn", "board", "block", "index_block",
          "lot", "batch")  # fmt: skip


def read_manifest(tree: Tree, pictures: Pictures) -> Layout:
    """``InvalidRequest`` for a table without its two columns or with a name outside the set."""
    table, columns = _table(tree)
    file_column, label_column = _column(columns, _FILE), _column(columns, _LABEL)
    if file_column is None or label_column is None:
        raise InvalidRequest(
            f"{NAME} needs the columns 'file' and 'label', it has "
            f"{', '.join(columns) or 'none'}; the first line names the columns",
            param="data",
        )
    group_column = _column(columns, _GROUP) or next(
        (given for name, given in columns.items() if name.endswith("_group")), None
    )
    layout = Layout("manifest", [], group_column=group_column or "")
    missing, unlabelled, listed_names = [], [], set()
    for row in table:
        given = _cell(row, file_column)
        if not given:
            continue
        name = _normal(given)
        if name not in tree.files:
            missing.append(given)
            continue
        listed_names.add(name)
        label = canonical_label(_cell(row, label_column))
        if not label:
            unlabelled.append(name)
            continue
        draft = Draft(name, tree.files[name], label, group=_cell(row, group_column))
        draft.split = SPLITS.get(_cell(row, columns.get("split")).lower(), "")
        _outlines(draft, row, columns, tree, pictures, layout, missing)
        layout.drafts.append(draft)
    _report(layout, tree, missing, unlabelled, listed_names)
    return layout


def names_labels(tree: Tree) -> bool:
    """Whether the table gives labels itself; if not, label files beside it may."""
    _, columns = _table(tree)
    return _column(columns, _FILE) is not None and _column(columns, _LABEL) is not None


def _table(tree: Tree) -> tuple[csv.DictReader[str], dict[str, str]]:
    """The rows, and lower-case column name -> the name as written."""
    table = csv.DictReader(io.StringIO(read_text(tree.files[NAME]), newline=""))
    return table, {(name or "").strip().lower(): name for name in table.fieldnames or ()}


def _column(columns: dict[str, str], known: Sequence[str]) -> str | None:
    return next((columns[name] for name in known if name in columns), None)


def _cell(row: dict[str, str], column: str | None) -> str:
    return (row.get(column) or "").strip() if column else ""


def _normal(name: str) -> str:
    """The tree's way to write a name. ``InvalidRequest`` if it leads out of the data set."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise InvalidRequest(
            f"{NAME} names {name!r}, outside the data set; write names relative to {NAME}",
            param="data",
        )
    return path.as_posix()


def _outlines(
    draft: Draft,
    row: dict[str, str],
    columns: dict[str, str],
    tree: Tree,
    pictures: Pictures,
    layout: Layout,
    missing: list[str],
) -> None:
    for column in ("mask", "annotation", "yolo"):
        given = _cell(row, columns.get(column))
        if not given:
            continue
        path = tree.files.get(_normal(given))
        if path is None:
            missing.append(given)
        elif column == "mask":
            draft.mask = path
        elif column == "annotation":
            draft.boxes = read_annotation(path).boxes
        elif (size := pictures.size(draft.path)) is not None:
            found = read_labels(path, size, lambda _number: draft.label)
            draft.boxes, draft.polygons = found.boxes, found.polygons


def _report(
    layout: Layout, tree: Tree, missing: list[str], unlabelled: list[str], known: set[str]
) -> None:
    masks = {draft.mask for draft in layout.drafts}
    extra = [n for n, path in tree.images().items() if n not in known and path not in masks]
    if missing:
        layout.notes.append(
            note(
                "error",
                "missing_files",
                f"{NAME} names {counted(len(missing), 'file')} not sent ({listed(missing)}); "
                "send them, or take their rows out",
                missing,
            )
        )
    if unlabelled:
        layout.notes.append(
            note(
                "warning",
                "unlabelled_files",
                f"{counted(len(unlabelled), 'row')} of {NAME} without a label "
                f"({listed(unlabelled)}) left out",
                unlabelled,
            )
        )
    if extra:
        layout.notes.append(
            note(
                "warning",
                "unlisted_files",
                f"{counted(len(extra), 'image')} not in {NAME} ({listed(extra)}) left out",
                extra,
            )
        )
