"""What a fit left on disk: checked, then stored in the platform's bucket."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from xingyue.catalog.heads import MANIFEST, check_manifest
from xingyue.catalog.weights import sha256_file
from xingyue.errors import Conflict, Internal
from xingyue.storage.objects import ObjectStore

_REPORT_SUFFIXES = {".json": "application/json", ".png": "image/png"}
_REPORT_MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Stored:
    """Where head and report lie now, and the head's identity."""

    head_uri: str
    head_digest: str
    report_uri: str


def check_parity(parity: float, parity_max: float) -> None:
    """``Conflict`` (``parity_failed``) where the exported head does not score as the trained one
    did. NaN is refused too."""
    if not 0 <= parity <= parity_max:
        raise Conflict(
            f"the exported model's scores differ from the trained one's by up to {parity:g}; the "
            f"tolerance is {parity_max:g}, so it is not published; try other hyper-parameters or "
            "tell the operator",
            code="parity_failed",
        )


def store_results(
    store: ObjectStore,
    bucket: str,
    folder: str,
    head: Path,
    report: Path,
    check: Callable[[], None],
) -> Stored:
    """``Internal`` where the recipe's head is not what its manifest says: it would be refused at
    every load. The manifest goes last, so a head that was cut off is none."""
    data = (head / MANIFEST).read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    pinned = check_manifest(data, digest, str(head))["files"]
    for name, expected in pinned.items():
        if sha256_file(head / name) != expected:
            raise Internal(f"the recipe's manifest pins another {name} than it wrote")
    for name in (*pinned, MANIFEST):
        check()
        _put(store, bucket, f"{folder}/head/{name}", head / name)
    for path in _report_files(report):
        check()
        kind = _REPORT_SUFFIXES[path.suffix]
        _put(store, bucket, f"{folder}/report/{path.name}", path, media_type=kind)
    return Stored(f"s3://{bucket}/{folder}/head", digest, f"s3://{bucket}/{folder}/report")


def _report_files(report: Path) -> list[Path]:
    found = [
        path
        for path in sorted(report.iterdir())
        if path.is_file() and not path.is_symlink() and path.suffix in _REPORT_SUFFIXES
    ]
    if sum(path.stat().st_size for path in found) > _REPORT_MAX_BYTES:
        raise Internal(f"the recipe's report has more than {_REPORT_MAX_BYTES} bytes")
    return found


def _put(
    store: ObjectStore,
    bucket: str,
    key: str,
    path: Path,
    *,
    media_type: str = "application/octet-stream",
) -> None:
    with path.open("rb") as file:
        store.put_stream(bucket, key, file, size_bytes=path.stat().st_size, media_type=media_type)
