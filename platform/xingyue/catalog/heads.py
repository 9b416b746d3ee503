"""Heads on local disk, by digest: from an installed package, a folder or the object store.

A head's identity is the SHA-256 of its ``manifest.json``, whose ``files`` pins every other file:

    {"family": "...", "files": {"head.safetensors": "<sha256>"}, ...}

``HeadSource.resolve`` gives a folder that holds exactly those files with exactly those digests,
or raises. Heads are data: a name that is not a plain file name with one of ``SUFFIXES`` is
refused, so nothing executable and nothing outside the folder can come in.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit

from xingyue.catalog.fetch import open_resource
from xingyue.catalog.weights import sha256_file
from xingyue.contract import HeadFiles, HeadRef
from xingyue.errors import IntegrityError, InvalidRequest, NotFound
from xingyue.storage.objects import ObjectStore

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
TAMPERED = "artefact_tampered"
SUFFIXES = frozenset({".safetensors", ".gguf", ".onnx", ".json", ".txt"})
MANIFEST_MAX_BYTES = 4 << 20
_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")
_DIGEST = re.compile(r"^[0-9a-f]{64}$")
_STALE_S = 3600.0
_SWEEP_EVERY_S = 60.0
_VERIFIED_MAX = 20_000
_DRAFT = ".draft-"
_CHUNK = 1 << 20

_Open = Callable[[str], AbstractContextManager[Iterable[bytes]]]
"""File name -> its bytes in chunks."""


class HeadSource:
    """Resolves references into ``cache/<digest>/``. Safe between threads and processes."""

    def __init__(
        self,
        cache: Path,
        store: ObjectStore | None = None,
        *,
        head_max_bytes: int = 4 << 30,
        cache_max_bytes: int = 16 << 30,
    ) -> None:
        self._cache = cache
        self._store = store
        self._head_max_bytes = head_max_bytes
        self._cache_max_bytes = cache_max_bytes
        self._verified: dict[str, HeadFiles] = {}
        self._lock = threading.Lock()
        self._swept_at_s: float | None = None
        self._brought_bytes = 0
        self._sweeping: threading.Thread | None = None

    def resolve(self, ref: HeadRef) -> HeadFiles:
        """The head's verified files.

        ``IntegrityError`` if anything differs from its digest; ``NotFound`` if ``ref.uri`` leads
        nowhere; ``InvalidRequest`` if it is of no kind known here.
        """
        if not _DIGEST.match(ref.digest):
            raise InvalidRequest(
                f"head digest {ref.digest!r} is not 64 hex digits of SHA-256", param="digest"
            )
        with self._lock:
            known = self._verified.get(ref.digest)
        folder = self._cache / ref.digest
        if _touch(folder) and known is not None:
            return known
        files = self._from_cache(folder, ref.digest) or self._bring(ref, folder)
        with self._lock:
            self._verified[ref.digest] = files
            if len(self._verified) > _VERIFIED_MAX:
                # Only costs reading it again, should it be asked for once more.
                self._verified.pop(next(iter(self._verified)))
        return files

    def settle(self) -> None:
        """Wait for upkeep that is under way."""
        with self._lock:
            sweeping = self._sweeping
        if sweeping is not None:
            sweeping.join()

    def _from_cache(self, folder: Path, digest: str) -> HeadFiles | None:
        """What an earlier process left, read again once; a damaged copy is thrown away."""
        try:
            data = (folder / MANIFEST).read_bytes()
            manifest = check_manifest(data, digest, str(folder))
            for name, expected in manifest["files"].items():
                _compare(sha256_file(folder / name), expected, name, str(folder))
        except FileNotFoundError:
            return None
        except IntegrityError:
            shutil.rmtree(folder, ignore_errors=True)
            return None
        return HeadFiles(folder, manifest)

    def _bring(self, ref: HeadRef, folder: Path) -> HeadFiles:
        open_file = self._opener(ref.uri)
        self._cache.mkdir(parents=True, exist_ok=True)
        draft = self._cache / f"{_DRAFT}{uuid.uuid4().hex}"
        draft.mkdir()
        try:
            data = _read_bounded(open_file, MANIFEST, MANIFEST_MAX_BYTES, ref.uri)
            manifest = check_manifest(data, ref.digest, ref.uri)
            left = self._head_max_bytes
            for name, expected in manifest["files"].items():
                left -= _copy_verified(open_file, name, draft / name, expected, left, ref.uri)
            (draft / MANIFEST).write_bytes(data)
            try:
                draft.rename(folder)
            except OSError:
                # Another thread or process was first; a digest has but one content.
                if not (folder / MANIFEST).is_file():
                    raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        self._sweep_if_due(self._head_max_bytes - left)
        return HeadFiles(folder, manifest)

    def _opener(self, uri: str) -> _Open:
        if uri.startswith("resource:"):
            resource = uri.removeprefix("resource:").rstrip("/")
            if ":" not in resource:
                raise _bad_uri(uri)
            return lambda name: _open_local(lambda: open_resource(f"{resource}/{name}"), uri, name)
        parts = urlsplit(uri)
        path = unquote(parts.path)
        if parts.scheme == "file" and not parts.netloc and path.startswith("/"):
            return lambda name: _open_local(lambda: (Path(path) / name).open("rb"), uri, name)
        if parts.scheme == "s3" and parts.netloc and path.strip("/"):
            store = self._store
            if store is None:
                raise InvalidRequest(f"head {uri} needs object storage; none is set", param="uri")
            prefix = path.strip("/")
            return lambda name: store.open(parts.netloc, f"{prefix}/{name}")
        raise _bad_uri(uri)

    def _sweep_if_due(self, brought_bytes: int) -> None:
        """A sweep looks at every head, so it must not be part of bringing one: it runs aside, once
        a minute, or when what came since the last one is a sixteenth of the cache."""
        with self._lock:
            self._brought_bytes += brought_bytes
            now_s = time.monotonic()
            due = (
                self._swept_at_s is None
                or now_s - self._swept_at_s >= _SWEEP_EVERY_S
                or self._brought_bytes * 16 >= self._cache_max_bytes
            )
            if not due or (self._sweeping is not None and self._sweeping.is_alive()):
                return
            self._swept_at_s, self._brought_bytes = now_s, 0
            self._sweeping = threading.Thread(target=self._sweep_aside, daemon=True)
            self._sweeping.start()

    def _sweep_aside(self) -> None:
        try:
            self._sweep(_STALE_S)
        except OSError:
            log.exception("the head cache %s could not be swept", self._cache)

    def _sweep(self, unused_s: float) -> None:
        """Throw away drafts of killed processes and, over the limit, the heads unused longest.

        Nothing used within ``unused_s`` goes: another process may be about to read it.
        """
        total, old = 0, []
        for folder in self._cache.iterdir():
            try:
                used, size = folder.stat().st_mtime, _size(folder)
            except FileNotFoundError:
                continue
            total += size
            if time.time() - used > unused_s:
                old.append((not folder.name.startswith(_DRAFT), used, size, folder))
        for is_head, _, size, folder in sorted(old):
            if is_head and total <= self._cache_max_bytes:
                return
            shutil.rmtree(folder, ignore_errors=True)
            total -= size


def _touch(folder: Path) -> bool:
    """Note that the head is in use; False if it is not there."""
    try:
        os.utime(folder)
    except FileNotFoundError:
        return False
    return True


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.iterdir())


def check_manifest(data: bytes, digest: str, where: str) -> Mapping[str, Any]:
    """Parse a manifest whose SHA-256 must be ``digest`` and whose names must be harmless."""
    _compare(hashlib.sha256(data).hexdigest(), digest, MANIFEST, where)
    try:
        manifest = json.loads(data)
        files = manifest["files"]
        pairs = list(files.items())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise IntegrityError(
            f"{MANIFEST} of head {where} has no 'files' object of names and SHA-256 digests"
        ) from error
    for name, expected in pairs:
        if (
            not _NAME.match(name)
            or Path(name).suffix not in SUFFIXES
            or name.lower() == MANIFEST
            or not isinstance(expected, str)
            or not _DIGEST.match(expected)
        ):
            raise IntegrityError(
                f"{MANIFEST} of head {where} lists {name!r}: allowed are plain file names ending "
                f"in {', '.join(sorted(SUFFIXES))}, each with its SHA-256 in hex"
            )
    checked: Mapping[str, Any] = manifest
    return checked


@contextmanager
def _open_local(
    open_file: Callable[[], IO[bytes]], uri: str, name: str
) -> Iterator[Iterator[bytes]]:
    try:
        file = open_file()
    except (FileNotFoundError, NotADirectoryError, ModuleNotFoundError) as error:
        raise NotFound(f"head {uri} has no file {name}", param="uri") from error
    with file:
        yield iter(lambda: file.read(_CHUNK), b"")


def _read_bounded(open_file: _Open, name: str, max_bytes: int, uri: str) -> bytes:
    data = bytearray()
    with open_file(name) as chunks:
        for chunk in chunks:
            data += chunk
            if len(data) > max_bytes:
                raise IntegrityError(f"{name} of head {uri} has more than {max_bytes} bytes")
    return bytes(data)


def _copy_verified(
    open_file: _Open, name: str, target: Path, expected: str, max_bytes: int, uri: str
) -> int:
    digest, size = hashlib.sha256(), 0
    with target.open("wb") as file, open_file(name) as chunks:
        for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise IntegrityError(f"head {uri} is larger than the limit of a head at {name}")
            digest.update(chunk)
            file.write(chunk)
    _compare(digest.hexdigest(), expected, name, uri)
    return size


def _compare(got: str, expected: str, name: str, where: str) -> None:
    if got != expected:
        raise IntegrityError(
            f"{name} of head {where} is not the pinned file: expected SHA-256 {expected}, "
            f"got {got}; it was changed or damaged after it was published",
            code=TAMPERED,
        )


def _bad_uri(uri: str) -> InvalidRequest:
    return InvalidRequest(
        f"head uri {uri!r} is of no known kind: use resource:module:folder, "
        "file:///absolute/folder or s3://bucket/prefix",
        param="uri",
    )
