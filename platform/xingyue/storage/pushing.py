"""A local data set to a prefix of a bucket: what to send, what is there, what is left over.

Does not know HTTP or keys: how one file travels is the caller's ``send``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from xingyue.errors import Cancelled, InvalidRequest
from xingyue.storage.objects import check_key
from xingyue.storage.uploads import expected_etags

ROOT = "datasets/"
"""Where data sets lie in a tenant's bucket: ``datasets/<name>/<file>``."""
_SYSTEM = frozenset({"__macosx", "thumbs.db", "desktop.ini"})
_WORKERS = 4


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
    given = name or (source.stem if source.is_file() else source.resolve().name)
    if "/" in given.strip("/") or not given.strip("/"):
        raise InvalidRequest(
            f"name {given!r} must be one word or more without '/'; give --name", param="name"
        )
    prefix = f"{ROOT}{given.strip('/')}"
    check_key(prefix)
    return f"{prefix}/"


def local_files(source: Path, prefix: str) -> list[LocalFile]:
    """The files to send, by key: a single file, or a folder's without what systems add.

    Links are not followed. ``InvalidRequest`` (param ``folder``) where there is nothing to send.
    """
    if source.is_file():
        return [LocalFile(prefix + source.name, source, source.stat().st_size)]
    if not source.is_dir():
        raise InvalidRequest(f"there is no folder or file {source}", param="folder")
    found = []
    for folder, below, names in os.walk(source):
        below[:] = sorted(name for name in below if not _is_system(name))
        for name in sorted(names):
            path = Path(folder, name)
            if not _is_system(name) and not path.is_symlink():
                key = prefix + path.relative_to(source).as_posix()
                check_key(key)
                found.append(LocalFile(key, path, path.stat().st_size))
    if not found:
        raise InvalidRequest(f"{source} holds no files", param="folder")
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


Send = Callable[[LocalFile, Callable[[int], None]], None]
"""Sends one file and tells how many bytes are done, in steps."""


def run(files: Iterable[LocalFile], send: Send, sent: Callable[[int], None]) -> None:
    """Send all, four at a time; ``sent`` gets bytes as they are done.

    The first error (or Ctrl-C) stops the others at their next step, and is raised.
    """
    stopping = threading.Event()

    def step(size_bytes: int) -> None:
        if stopping.is_set():
            raise Cancelled("another file failed")
        sent(size_bytes)

    with ThreadPoolExecutor(_WORKERS) as pool:
        futures = [pool.submit(send, file, step) for file in files]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _is_system(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM
