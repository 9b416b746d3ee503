"""The manifest of a surface-inspection head: what every kind has in common.

    {"family": "surface-inspection", "format_version": 1, "kind": "conv-onnx",
     "labels": ["crack", ...], "threshold": 0.5, "pixel_threshold": 0.4,
     "input": {"side": 320, "windows_max": 4, "exposure": true, "scale_max": 2.0},
     "files": {"head.onnx": "<sha256>"}, "trunk": {"sha256": "..."}, ...}

``trunk``, ``recipe``, ``dataset``, ``metrics`` and ``licence`` are for people and the catalogue;
only ``trunk.sha256``, where present, is compared with the trunk that is loaded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from xingyue.contract import HeadFiles
from xingyue.errors import IntegrityError, InvalidRequest
from xingyue_models.surface_inspection.geometry import Geometry

FAMILY = "surface-inspection"
FORMAT_VERSION = 1
LABELS_MAX = 100
GOOD = "good"
"""The class of parts without a defect; never one of ``labels``."""


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """``threshold`` is on the image score, ``pixel_threshold`` on the heat map; both in [0, 1].

    ``classes``: what a classification head tells apart, ``good`` among them where it knows good
    parts; empty for the others.
    """

    kind: str
    labels: tuple[str, ...]
    threshold: float
    pixel_threshold: float
    geometry: Geometry
    classes: tuple[str, ...] = ()


def read_spec(manifest: Mapping[str, Any]) -> HeadSpec:
    """Check the common part; ``InvalidRequest`` names the key and what it must be."""
    if manifest.get("family") != FAMILY:
        raise InvalidRequest(
            f"the head is of family {manifest.get('family')!r}, this trunk takes {FAMILY!r}",
            param="family",
        )
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InvalidRequest(
            f"format_version {manifest.get('format_version')!r} is not known; "
            f"this release reads {FORMAT_VERSION}",
            param="format_version",
        )
    labels = _names(manifest.get("labels"), "labels")
    classes = _names(manifest["classes"], "classes") if "classes" in manifest else ()
    if GOOD in labels or (classes and {*classes} - {GOOD} != {*labels}):
        raise InvalidRequest(
            f"labels are the kinds of defects, without {GOOD!r}; classes are the same and may hold "
            f"{GOOD!r}",
            param="labels",
        )
    return HeadSpec(
        kind=str(manifest.get("kind")),
        labels=labels,
        threshold=_share(manifest, "threshold"),
        pixel_threshold=_share(manifest, "pixel_threshold"),
        geometry=Geometry.from_manifest(manifest),
        classes=classes,
    )


def check_trunk(
    manifest: Mapping[str, Any], trunk_sha256: str, quantised_from: str | None = None
) -> None:
    """``InvalidRequest`` if the head names another trunk than the one it is loaded into, and than
    the one that this was quantised from."""
    wanted = manifest.get("trunk", {}).get("sha256", trunk_sha256)
    if wanted not in (trunk_sha256, quantised_from):
        raise InvalidRequest(
            f"the head was trained on trunk {wanted[:12]}, the trunk here is {trunk_sha256[:12]}; "
            "train the head again on this trunk",
            param="trunk.sha256",
        )


def read_file(files: HeadFiles, name: str) -> bytes:
    """Bytes of a listed file; ``IntegrityError`` if they are not those that were listed."""
    listed = files.manifest.get("files")
    wanted = listed.get(name) if isinstance(listed, Mapping) else None
    path = files.folder / name
    if not isinstance(wanted, str) or not path.is_file():
        raise InvalidRequest(
            f"the head needs the file {name!r}, in its folder and under 'files' with its SHA-256",
            param="files",
        )
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != wanted:
        raise IntegrityError(f"{name} has SHA-256 {found}, the manifest lists {wanted}")
    return data


def _names(value: object, key: str) -> tuple[str, ...]:
    if (
        not isinstance(value, list)
        or not 1 <= len(value) <= LABELS_MAX
        or not all(isinstance(name, str) and name for name in value)
        or len(set(value)) != len(value)
    ):
        raise InvalidRequest(
            f"{key} must be 1 to {LABELS_MAX} different names of defect kinds", param=key
        )
    return tuple(value)


def _share(manifest: Mapping[str, Any], name: str) -> float:
    value = manifest.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidRequest(f"{name} must be a number from 0 to 1, got {value!r}", param=name)
    return float(value)
