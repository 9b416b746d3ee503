"""What every reader of images makes: samples with a label, a group, and outlines where given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from xingyue.contract import DatasetNote

GOOD = "good"
GOOD_NAMES = frozenset(
    {"good", "ok", "okay", "normal", "pass", "passed", "no_defect", "no-defect", "defect_free",
     "defect-free", "良品", "合格", "合格品", "正常", "无缺陷"}
)  # fmt: skip
"""What factories call a good part; each becomes ``good``."""


@dataclass(frozen=True, slots=True)
class Box:
    """Pixels of the image as stored; ``x_max`` and ``y_max`` are exclusive edges."""

    label: str
    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, slots=True)
class ImageSample:
    """One readable image.

    ``name``         relative to the data set's root, with ``/``
    ``label``        ``good`` for good parts
    ``group``        what a split must keep together: one part, one photo, one lot
    ``mask``         image of the same size, non-zero on the defect (see ``masks.read_mask``)
    ``split``        the side that the sender's own folders give: ``train``, ``val`` or ``""``
    ``sha256``       of the file's bytes, hex
    ``fingerprint``  256 bits of the picture's gradients; None where it is too small or too plain
    """

    path: Path
    name: str
    label: str
    group: str
    mask: Path | None = None
    boxes: tuple[Box, ...] = ()
    split: str = ""
    width: int = 0
    height: int = 0
    sha256: str = ""
    fingerprint: int | None = None

    @property
    def defective(self) -> bool:
        return self.label != GOOD


@dataclass(frozen=True, slots=True)
class ImageDataset:
    """Samples in order of their names. ``notes`` are the reader's own findings."""

    samples: tuple[ImageSample, ...]
    kind: str
    """``folder-of-classes``, ``masks``, ``manifest``, ``coco``, ``voc`` or ``yolo``."""
    digest: str
    """``sha256:<hex>`` over names and contents of all files: the version of the data set."""
    root: Path
    unreadable: Mapping[str, str]
    """Name of an image that is left out -> why, in words."""
    notes: tuple[DatasetNote, ...] = ()
    grouped_by: str = "file"
    """Where groups come from: ``column <name>``, ``file name`` or ``file`` (each its own)."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Defect labels, sorted, without ``good``."""
        return tuple(sorted({sample.label for sample in self.samples if sample.defective}))

    @property
    def counts(self) -> dict[str, int]:
        return dict(sorted(Counter(sample.label for sample in self.samples).items()))


def canonical_label(text: str) -> str:
    """The label without outer blanks; every factory's word for a good part is ``good``."""
    label = " ".join(text.split())
    return GOOD if label.casefold() in GOOD_NAMES else label
