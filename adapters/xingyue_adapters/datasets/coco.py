"""COCO: one JSON of ``images``, ``annotations`` and ``categories``; polygons become masks."""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.drafts import Draft, Layout, Polygon, label_of
from xingyue_adapters.datasets.folders import SPLITS
from xingyue_adapters.datasets.samples import GOOD, Box, canonical_label
from xingyue_adapters.datasets.tree import Tree, read_text
from xingyue_adapters.datasets.unmatched import note_unmatched

_FIELDS = {
    "images": ("id", "file_name"),
    "annotations": ("image_id", "category_id"),
    "categories": ("id", "name"),
}


def coco_files(tree: Tree) -> dict[str, Path]:
    """JSON files that hold COCO's three lists."""
    return {
        name: path
        for name, path in tree.find(".json").items()
        if all(f'"{key}"' in read_text(path) for key in ("images", "annotations", "categories"))
    }


def read_coco(tree: Tree) -> Layout:
    """All COCO files of the tree (such as ``train.json`` and ``val.json``) as one."""
    layout = Layout("coco", [])
    images = tree.images()
    by_base = {os.path.basename(name): name for name in images}
    unmatched, used = [], set()
    for file_name, path in coco_files(tree).items():
        content = _parse(path)
        labels = {item["id"]: canonical_label(str(item["name"])) for item in content["categories"]}
        outlines: dict[Any, list[dict[str, Any]]] = defaultdict(list)
        for item in content["annotations"]:
            outlines[item["image_id"]].append(item)
        for item in content["images"]:
            given = str(item["file_name"]).replace("\\", "/")
            name = given if given in images else by_base.get(os.path.basename(given))
            if name is None:
                unmatched.append(given)
                continue
            used.add(name)
            boxes, polygons = _outlines(outlines[item["id"]], labels, path.name)
            draft = Draft(name, images[name], label_of(boxes), boxes=boxes, polygons=polygons)
            draft.split = _side(file_name) or _side(name)
            layout.drafts.append(draft)
    note_unmatched(layout, unmatched, sorted(set(images) - used), "entry")
    return layout


def _side(name: str) -> str:
    words = name.lower().replace("_", "/").replace(".", "/").split("/")
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def _parse(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_text(path))
        for part, fields in _FIELDS.items():
            for item in content[part]:
                for field in fields:
                    hash(item[field])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidRequest(
            f"{path.name} is not a COCO file: it needs images (id, file_name), annotations "
            f"(image_id, category_id, bbox) and categories (id, name); {type(error).__name__}: "
            f"{error}",
            param="data",
        ) from error
    assert isinstance(content, dict)
    return content


def _outlines(
    items: list[dict[str, Any]], labels: dict[Any, str], file_name: str
) -> tuple[tuple[Box, ...], tuple[Polygon, ...]]:
    boxes, polygons = [], []
    for item in items:
        label = labels.get(item["category_id"])
        if label is None:
            raise InvalidRequest(
                f"{file_name}: annotation {item.get('id')} is of category "
                f"{item['category_id']}, which 'categories' lacks",
                param="data",
            )
        if label == GOOD:
            continue
        try:
            x, y, width, height = (float(value) for value in item["bbox"])
            # A run-length mask (iscrowd) has no corners: its box stands for it.
            shapes = item.get("segmentation") or []
            drawn = [] if isinstance(shapes, dict) else [_polygon(shape) for shape in shapes]
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidRequest(
                f"{file_name}: annotation {item.get('id')} needs a bbox [x, y, width, height] of "
                "numbers, and its segmentation, if any, lists of x, y",
                param="data",
            ) from error
        polygons += drawn
        boxes.append(Box(label, x, y, x + width, y + height))
    return tuple(boxes), tuple(polygons)


def _polygon(values: list[Any]) -> Polygon:
    numbers = [float(value) for value in values]
    if len(numbers) < 6 or len(numbers) % 2 or not all(map(math.isfinite, numbers)):
        raise ValueError("a polygon needs three corners or more")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))
