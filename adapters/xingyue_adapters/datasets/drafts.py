"""What a layout's reader finds, before the pictures are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from xingyue.contract import DatasetNote
from xingyue_adapters.datasets.samples import Box

NAMED_FILES_MAX = 20

Polygon = tuple[tuple[float, float], ...]
"""Corners ``(x, y)`` in pixels."""


@dataclass(slots=True)
class Draft:
    """A sample to be. ``polygons`` are drawn into a mask where there is no mask file."""

    name: str
    path: Path
    label: str
    group: str = ""
    mask: Path | None = None
    boxes: tuple[Box, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    split: str = ""


@dataclass(slots=True)
class Layout:
    """All that a reader made out. ``group_column`` where the sender names the groups."""

    kind: str
    drafts: list[Draft]
    notes: list[DatasetNote] = field(default_factory=list)
    group_column: str = ""


def note(
    severity: Literal["error", "warning", "info"],
    code: str,
    message: str,
    files: Sequence[str] = (),
) -> DatasetNote:
    return DatasetNote(severity, code, message, tuple(files[:NAMED_FILES_MAX]))


def counted(number: int, noun: str) -> str:
    """``1 image``, ``2 images``."""
    plural = noun if number == 1 else f"{noun}es" if noun.endswith(("s", "x")) else f"{noun}s"
    return f"{number} {plural}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def label_of(boxes: Sequence[Box]) -> str:
    """The label that covers most of the picture; ``good`` without boxes."""
    area: dict[str, float] = {}
    for box in boxes:
        size = max(0.0, box.x_max - box.x_min) * max(0.0, box.y_max - box.y_min)
        area[box.label] = area.get(box.label, 0.0) + size
    return max(sorted(area), key=lambda label: area[label]) if area else "good"
