"""YOLO: one text file per image, ``class x y w h`` or ``class x y x y ...`` in fractions.

An empty file is a good part. Names come from ``data.yaml``, ``classes.txt`` or ``obj.names``; the
sides of a split from folders called ``train``, ``val``, ``valid`` or ``test``.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.drafts import Draft, Layout, Polygon, label_of
from xingyue_adapters.datasets.folders import SPLITS
from xingyue_adapters.datasets.pictures import Pictures
from xingyue_adapters.datasets.samples import GOOD, Box, canonical_label
from xingyue_adapters.datasets.tree import Tree, is_note, read_text
from xingyue_adapters.datasets.unmatched import note_unmatched

_NAMES = ("classes.txt", "obj.names", "labels.txt")


@dataclass(frozen=True, slots=True)
class Outlines:
    boxes: tuple[Box, ...]
    polygons: tuple[Polygon, ...]


def looks_like_yolo(tree: Tree) -> bool:
    """A text file named like an image, in its folder or in ``labels/`` beside ``images/``."""
    texts = set(tree.find(".txt"))
    return any(_label_file(name, texts) is not None for name in tree.images())


def read_yolo(tree: Tree, pictures: Pictures) -> Layout:
    layout = Layout("yolo", [])
    names = _class_names(tree)
    texts = {
        name: path
        for name, path in tree.find(".txt").items()
        if os.path.basename(name).lower() not in (*_NAMES, "train.txt", "val.txt", "test.txt")
        and not is_note(os.path.basename(name))
    }
    images = tree.images()
    known, used, unlabelled = set(texts), set(), []
    for name, path in images.items():
        label_file = _label_file(name, known)
        if label_file is None:
            unlabelled.append(name)
            continue
        used.add(label_file)
        size = pictures.size(path)
        found = read_labels(texts[label_file], size or (1, 1), lambda number: names(number))
        boxes = tuple(box for box in found.boxes if box.label != GOOD)
        draft = Draft(name, path, label_of(boxes), boxes=boxes, polygons=found.polygons)
        draft.split = next((SPLITS[p] for p in name.lower().split("/")[:-1] if p in SPLITS), "")
        layout.drafts.append(draft)
    note_unmatched(layout, sorted(set(texts) - used), unlabelled, "label file")
    return layout


def _label_file(image: str, texts: set[str]) -> str | None:
    stem = os.path.splitext(image)[0]
    for at in ("images/", "JPEGImages/"):
        head, found, tail = f"/{stem}".rpartition(f"/{at}")
        if found and (name := f"{head}/labels/{tail}.txt".lstrip("/")) in texts:
            return name
    return f"{stem}.txt" if f"{stem}.txt" in texts else None


def _class_names(tree: Tree) -> Callable[[int], str]:
    """Number -> name. Without a list of names, class 3 is called ``class-3``."""
    known: dict[int, str] = {}
    for name, path in tree.files.items():
        base = os.path.basename(name).lower()
        if base in ("data.yaml", "data.yml", "dataset.yaml"):
            known = _yaml_names(path)
            break
        if base in _NAMES:
            lines = [line.strip() for line in read_text(path).splitlines()]
            known = {number: line for number, line in enumerate(lines) if line}
    return lambda number: canonical_label(known.get(number, f"class-{number}"))


def _yaml_names(path: Path) -> dict[int, str]:
    try:
        parsed = yaml.safe_load(read_text(path))
        names = parsed.get("names", {})
        pairs = names.items() if isinstance(names, dict) else enumerate(names)
        return {int(number): str(name) for number, name in pairs}
    except (yaml.YAMLError, AttributeError, TypeError, ValueError) as error:
        raise InvalidRequest(
            f"{path.name} must list the classes as 'names: [scratch, dent]'", param="data"
        ) from error


def read_labels(path: Path, size: tuple[int, int], name_of: Callable[[int], str]) -> Outlines:
    """Lines of one file, in pixels of an image of ``size`` (width, height).

    ``InvalidRequest`` names the file and the line. A polygon also gives the box around it.
    """
    width, height = size
    boxes, polygons = [], []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            label, values = name_of(int(fields[0])), [float(field) for field in fields[1:]]
        except ValueError:
            label, values = "", []
        # Four numbers are a box, five a box with a score, six or more (even) a polygon.
        polygon = len(values) >= 6 and len(values) % 2 == 0
        if not (polygon or len(values) in (4, 5)) or not all(map(math.isfinite, values)):
            raise InvalidRequest(
                f"{path.name}, line {number}: expected 'class x y width height' or "
                "'class x1 y1 x2 y2 x3 y3 ...' in fractions of the image's size",
                param="data",
            )
        if polygon:
            pairs = zip(values[::2], values[1::2], strict=True)
            corners = tuple((x * width, y * height) for x, y in pairs)
            across, down = zip(*corners, strict=True)
            polygons.append(corners)
            boxes.append(Box(label, min(across), min(down), max(across), max(down)))
        else:
            x, y, w, h = (
                values[0] * width,
                values[1] * height,
                values[2] * width,
                values[3] * height,
            )
            boxes.append(Box(label, x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return Outlines(tuple(boxes), tuple(polygons))
