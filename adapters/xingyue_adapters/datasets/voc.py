"""Pascal VOC: one XML file per image. Parsed without entities or outside references."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets.drafts import Draft, Layout, label_of
from xingyue_adapters.datasets.samples import GOOD, Box, canonical_label
from xingyue_adapters.datasets.tree import Tree, read_text
from xingyue_adapters.datasets.unmatched import note_unmatched


@dataclass(frozen=True, slots=True)
class Annotation:
    filename: str
    boxes: tuple[Box, ...]


def read_voc(tree: Tree) -> Layout:
    """Images are matched by the name of the XML file, else by its ``filename``."""
    layout = Layout("voc", [])
    images = tree.images()
    by_stem = {_stem(name): name for name in images}
    by_base = {os.path.basename(name): name for name in images}
    unmatched, used = [], set()
    for name, path in tree.find(".xml").items():
        annotation = read_annotation(path)
        found = by_stem.get(_stem(name)) or by_base.get(annotation.filename)
        if found is None:
            unmatched.append(name)
            continue
        used.add(found)
        boxes = tuple(box for box in annotation.boxes if box.label != GOOD)
        layout.drafts.append(Draft(found, images[found], label_of(boxes), boxes=boxes))
    note_unmatched(layout, unmatched, sorted(set(images) - used), "XML file")
    return layout


def read_annotation(path: Path) -> Annotation:
    """``InvalidRequest`` names the file and what is wrong in it."""
    text = read_text(path)
    try:
        # Its bytes were decoded already: an encoding that the text declares is no longer true.
        root = fromstring(text.encode("utf-8") if "encoding=" not in text[:200] else _bare(text))
    except (ParseError, DefusedXmlException, ValueError) as error:
        raise InvalidRequest(f"{path.name} is not a VOC file: {error}", param="data") from error
    if root.tag != "annotation":
        raise InvalidRequest(
            f"{path.name} is not a VOC file: its root is <{root.tag}>, not <annotation>",
            param="data",
        )
    boxes = tuple(_box(item, path.name) for item in root.iter("object"))
    return Annotation((root.findtext("filename") or "").strip(), boxes)


def _bare(text: str) -> bytes:
    start, _, rest = text.partition("?>")
    return (rest if start.lstrip().startswith("<?xml") else text).encode("utf-8")


def _box(item: Element, name: str) -> Box:
    label = canonical_label(item.findtext("name") or "")
    try:
        edges = [
            float(item.findtext(f"bndbox/{edge}") or "")
            for edge in ("xmin", "ymin", "xmax", "ymax")
        ]
    except ValueError as error:
        raise InvalidRequest(
            f"{name}: an object needs a bndbox of four numbers (xmin, ymin, xmax, ymax)",
            param="data",
        ) from error
    if not label:
        raise InvalidRequest(f"{name}: an object has no name", param="data")
    return Box(label, *edges)


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]
