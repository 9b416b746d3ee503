"""Reader of DeepPCB-like folders: an image, its template and boxes of six defect types.

Layout: ``manifest.csv`` with the columns ``test``, ``template``, ``label`` (paths from the folder)
and, where known, ``board_group``; label files hold one ``x1 y1 x2 y2 type`` per line, in pixels,
types 1 to 6. Source of the format: github.com/tangsanli5201/DeepPCB.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from xingyue.errors import InvalidRequest

LABELS = ("open", "short", "mousebite", "spur", "copper", "pin-hole")
"""Type ``k`` of the label files is ``LABELS[k - 1]``."""

HELD_OUT_GROUPS = frozenset({"group92000", "group50600", "group44000"})
"""Whole board groups that no training run reads; 75 of the 320 pairs of DeepPCB's dev part."""


@dataclass(frozen=True, slots=True)
class BoardPair:
    """One inspected image with its template. Paths are absolute; boxes are (n, 4) float pixels."""

    id: str
    group: str
    image: Path
    template: Path
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]


def find_folder(data: Path) -> Path:
    """The folder with the manifest: ``data`` itself, ``dev`` in it, or ``deeppcb/dev`` in it."""
    for folder in (data, data / "dev", data / "deeppcb" / "dev"):
        if (folder / "manifest.csv").is_file():
            return folder
    raise InvalidRequest(
        f"no manifest.csv in {data}, {data}/dev or {data}/deeppcb/dev; point at a DeepPCB folder",
        param="data",
    )


def read_pairs(folder: Path) -> list[BoardPair]:
    """All pairs of ``folder``, in the order of its manifest."""
    with (folder / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    pairs = []
    for row in rows:
        missing = {"test", "template", "label"} - row.keys()
        if missing:
            raise InvalidRequest(
                f"{folder}/manifest.csv lacks the columns {sorted(missing)}", param="data"
            )
        boxes, labels = _read_labels(folder / row["label"])
        pairs.append(
            BoardPair(
                id=row.get("id") or Path(row["test"]).stem,
                group=row.get("board_group") or "",
                image=folder / row["test"],
                template=folder / row["template"],
                boxes=boxes,
                labels=labels,
            )
        )
    return pairs


def split_pairs(pairs: Iterable[BoardPair]) -> tuple[list[BoardPair], list[BoardPair]]:
    """(fitted, held out) by whole board group, so that no board is on both sides."""
    fitted: list[BoardPair] = []
    held: list[BoardPair] = []
    for pair in pairs:
        (held if pair.group in HELD_OUT_GROUPS else fitted).append(pair)
    return fitted, held


def read_grey(path: Path) -> NDArray[np.uint8]:
    """Grey levels (height, width)."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise InvalidRequest(f"{path} is not a readable image", param="data")
    return np.asarray(grey, dtype=np.uint8)


def dataset_digest(pairs: Sequence[BoardPair]) -> str:
    """``sha256:`` over the images, templates and boxes, in order of id."""
    digest = hashlib.sha256()
    for pair in sorted(pairs, key=lambda each: each.id):
        digest.update(pair.image.read_bytes())
        digest.update(pair.template.read_bytes())
        digest.update(pair.boxes.tobytes())
        digest.update(pair.labels.tobytes())
    return f"sha256:{digest.hexdigest()}"


def _read_labels(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    boxes: list[list[float]] = []
    labels: list[int] = []
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        try:
            x_min, y_min, x_max, y_max = (float(field) for field in fields[:4])
            kind = int(fields[4])
        except (ValueError, IndexError) as error:
            raise InvalidRequest(
                f"{path}:{number} is not 'x1 y1 x2 y2 type': {line!r}", param="data"
            ) from error
        if not 1 <= kind <= len(LABELS) or x_max <= x_min or y_max <= y_min:
            raise InvalidRequest(f"{path}:{number} has no valid box and type", param="data")
        boxes.append([x_min, y_min, x_max, y_max])
        labels.append(kind - 1)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64)
