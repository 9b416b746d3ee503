"""A local data set against a prefix of a bucket: what to send, what is there, what is left over."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from xingyue_client.errors import InvalidArgument

ROOT = "datasets/"
"""Where data sets lie in a tenant's bucket: ``datasets/<name>/<file>``."""
PART_BYTES = 8 * 2**20
"""Of uploads in parts, whose ETag is made of the parts'."""
_SYSTEM = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class LocalFile:
    key: str
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Stored:
    key: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class PushPlan:
    """``extra``: keys under the prefix that the folder does not hold."""

    send: tuple[LocalFile, ...]
    kept: tuple[LocalFile, ...]
    extra: tuple[str, ...]

    @property
    def send_bytes(self) -> int:
        return sum(file.size_bytes for file in self.send)


def prefix_of(source: Path, name: str | None) -> str:
    """``datasets/<name>/``; the name is the folder's or the file's own unless one is given."""
    given = (name or (source.stem if source.is_file() else source.resolve().name)).strip("/")
    if "/" in given or given in ("", ".", ".."):
        raise InvalidArgument(
            f"name {given!r} must be one word or more without '/'; give --name", param="name"
        )
    return f"{ROOT}{given}/"


def local_files(source: Path, prefix: str) -> list[LocalFile]:
    """The files to send, by key: a single file, or a folder's without what systems add.

    Links are not followed. ``InvalidArgument`` (param ``folder``) where there is nothing to send.
    """
    if source.is_file():
        return [LocalFile(prefix + source.name, source, source.stat().st_size)]
    if not source.is_dir():
        raise InvalidArgument(f"there is no folder or file {source}", param="folder")
    found = []
    for folder, below, names in os.walk(source):
        below[:] = sorted(name for name in below if not _is_system(name))
        for name in sorted(names):
            path = Path(folder, name)
            if not _is_system(name) and not path.is_symlink():
                key = prefix + path.relative_to(source).as_posix()
                found.append(LocalFile(key, path, path.stat().st_size))
    if not found:
        raise InvalidArgument(f"{source} holds no files", param="folder")
    return found


def plan(files: Iterable[LocalFile], stored: Iterable[Stored]) -> PushPlan:
    """A stored object of equal size and MD5 is kept, everything else is sent."""
    there = {each.key: each for each in stored}
    send: list[LocalFile] = []
    kept: list[LocalFile] = []
    for file in files:
        known = there.pop(file.key, None)
        same = (
            known is not None
            and known.size_bytes == file.size_bytes
            and known.etag in expected_etags(file.path)
        )
        (kept if same else send).append(file)
    return PushPlan(tuple(send), tuple(kept), tuple(sorted(there)))


def expected_etags(path: Path, part_bytes: int = PART_BYTES) -> frozenset[str]:
    """What an S3 server may call the file: its MD5 when it was sent in one request, or the MD5 of
    its parts' MD5s with their number, when it was sent in parts."""
    whole = hashlib.md5(usedforsecurity=False)
    parts = []
    with path.open("rb") as file:
        while data := file.read(part_bytes):
            whole.update(data)
            parts.append(hashlib.md5(data, usedforsecurity=False).digest())
    joined = hashlib.md5(b"".join(parts), usedforsecurity=False).hexdigest()
    return frozenset({whole.hexdigest(), f"{joined}-{len(parts)}"})


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM
