"""Unpacking a zip that a stranger made: nothing leaves the target, nothing grows without bound.

Refused, with the entry's name: absolute names and ``..``, links and devices, encryption, corrupt
data, more files or bytes than a data set may have, entries that grow more than 200-fold. Left
aside: what systems add (``__MACOSX``, hidden files). Names that are not UTF-8 are read as GBK, as
Windows writes them in China.
"""

from __future__ import annotations

import errno
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from xingyue.errors import InvalidRequest, PayloadTooLarge
from xingyue_adapters.datasets.tree import FILES_MAX, is_system_file

_CHUNK_BYTES = 1 << 20
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError,
           struct.error)  # fmt: skip
"""What ``zipfile`` raises on damaged archives."""
_UTF8_FLAG, _ENCRYPTED_FLAG = 0x800, 0x1
_NAME_BYTES_MAX = 255


@dataclass(frozen=True, slots=True)
class ZipLimits:
    """``ratio_max`` counts for entries of more than ``ratio_free_bytes`` unpacked."""

    files_max: int = FILES_MAX
    file_bytes_max: int = 256 << 20
    total_bytes_max: int = 8 << 30
    ratio_max: int = 200
    ratio_free_bytes: int = 10 << 20


def unpack_new(archive: Path, scratch: Path, check: Callable[[], None] = lambda: None) -> Path:
    """A new folder below ``scratch`` with what ``unpack`` makes of ``archive``."""
    scratch.mkdir(parents=True, exist_ok=True)
    target = Path(tempfile.mkdtemp(prefix="unpacked-", dir=scratch))
    unpack(archive, target, check=check)
    return target


def unpack(
    archive: Path,
    target: Path,
    limits: ZipLimits | None = None,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Unpack into ``target`` (made here); how many files. ``InvalidRequest`` (param ``data``,
    code ``bad_zip``) or ``PayloadTooLarge``; what was unpacked by then stays in ``target``."""
    limits = limits or ZipLimits()
    target.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(archive) as opened:
            return _unpack(opened, target, limits, check)
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise
        raise _bad(f"{archive.name} is corrupt or cut off ({error}); zip it again") from error


def _unpack(
    opened: zipfile.ZipFile, target: Path, limits: ZipLimits, check: Callable[[], None]
) -> int:
    entries = opened.infolist()
    if len(entries) > limits.files_max:
        raise PayloadTooLarge(
            f"the zip has {len(entries)} entries, at most {limits.files_max} are taken",
            param="data",
        )
    left = limits.total_bytes_max
    seen: set[str] = set()
    for entry in entries:
        name = _decoded(entry)
        _refuse_odd(entry, name)
        if entry.is_dir() or is_system_file(name):
            continue
        if name.casefold() in seen:
            raise _bad(f"the zip holds {name!r} twice; zip the folder again")
        seen.add(name.casefold())
        left -= _write(opened, entry, name, target, limits, left, check)
    return len(seen)


def _decoded(entry: zipfile.ZipInfo) -> str:
    """The name with ``/``; ``zipfile`` read it as code page 437 unless marked as UTF-8."""
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8_FLAG:
        raw = name.encode("cp437", "surrogateescape")
        for encoding in ("utf-8", "gbk", "gb18030"):
            try:
                name = raw.decode(encoding)
                break
            except UnicodeDecodeError:
                continue
    return name.replace("\\", "/")


def _refuse_odd(entry: zipfile.ZipInfo, name: str) -> None:
    path = PurePosixPath(name)
    if not path.parts or any(ord(letter) < 32 for letter in name):
        raise _bad(f"the zip holds an entry with an empty or unprintable name ({name!r})")
    if path.is_absolute() or ".." in path.parts or ":" in path.parts[0]:
        raise _bad(
            f"the zip holds {name!r}, which leads out of its folder; zip the folder itself, "
            "with relative names"
        )
    if any(len(part.encode("utf-8", "replace")) > _NAME_BYTES_MAX for part in path.parts):
        raise _bad(f"the zip holds a name of more than {_NAME_BYTES_MAX} bytes: {name[:60]!r}...")
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _bad(f"the zip holds {name!r}, a link or a device; send the file itself")
    if entry.flag_bits & _ENCRYPTED_FLAG:
        raise _bad(f"{name!r} in the zip is encrypted; zip it without a password")


def _write(
    opened: zipfile.ZipFile,
    entry: zipfile.ZipInfo,
    name: str,
    target: Path,
    limits: ZipLimits,
    left: int,
    check: Callable[[], None],
) -> int:
    """Unpack one entry; its bytes. Sizes are counted as they come: a header may lie."""
    most = min(limits.file_bytes_max, left)
    dense = max(limits.ratio_free_bytes, entry.compress_size * limits.ratio_max)
    path = target.joinpath(*PurePosixPath(name).parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with opened.open(entry) as source, path.open("xb") as file:
        while chunk := source.read(_CHUNK_BYTES):
            check()
            written += len(chunk)
            if written > most:
                raise PayloadTooLarge(
                    f"{name!r} makes the zip larger than is taken (a file: "
                    f"{limits.file_bytes_max >> 20} MiB, all: {limits.total_bytes_max >> 20} MiB "
                    "unpacked)",
                    param="data",
                )
            if written > dense:
                raise _bad(
                    f"{name!r} in the zip grows more than {limits.ratio_max}-fold, as a "
                    "decompression bomb does; send it unpacked if it is real"
                )
            file.write(chunk)
    return written


def _bad(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="data", code="bad_zip")
