"""Zips of strangers: unpacked inside their folder, within bounds, or refused by name."""

from __future__ import annotations

import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from xingyue.errors import InvalidRequest, PayloadTooLarge
from xingyue_adapters.datasets import open_images
from xingyue_adapters.datasets.zips import ZipLimits, unpack


def pack(path: Path, entries: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_a_zip_reads_like_its_folder_and_has_its_digest(
    tmp_path: Path, scratch: Path, draw: Any
) -> None:
    root = tmp_path / "drums"
    for name in ("good/1.png", "good/2.png", "dent/a.png"):
        draw(root / name)
    data = {p.relative_to(tmp_path).as_posix(): p.read_bytes() for p in root.rglob("*.png")}
    junk = {"__MACOSX/drums/good/._1.png": b"x", "drums/.DS_Store": b"x"}
    sent = tmp_path / "sent"
    sent.mkdir()
    pack(sent / "drums.zip", junk | data)
    from_folder = open_images(root, scratch / "1")
    for number, source in enumerate((sent, sent / "drums.zip")):
        dataset = open_images(source, scratch / f"zip{number}")
        assert dataset.digest == from_folder.digest
        assert [s.name for s in dataset.samples] == [s.name for s in from_folder.samples]


@pytest.mark.parametrize("encoding", ["gbk", "utf-8"])
def test_chinese_names_of_windows_and_others(tmp_path: Path, encoding: str) -> None:
    archive = tmp_path / "a.zip"
    name = "划痕/零件一.png"
    raw = name.encode(encoding)
    # As Windows' own "compressed folder" writes it: bytes of the code page, no UTF-8 flag.
    pack(archive, {"x" * len(raw): b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"x" * len(raw), raw))
    assert unpack(archive, tmp_path / "out") == 1
    assert names(tmp_path / "out") == {name}


def test_backslashes_and_folders(tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {"set/": b"", "good/1.png": b"1"})
    archive.write_bytes(archive.read_bytes().replace(b"good/1.png", b"good\\1.png"))
    unpack(archive, tmp_path / "out")
    assert names(tmp_path / "out") == {"good/1.png"}


def with_mode(path: Path, mode: int) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("good/link.png")
        info.create_system = 3
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    return path


def encrypted(path: Path) -> Path:
    pack(path, {"good/1.png": b"1"})
    data = bytearray(path.read_bytes())
    for magic, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = data.index(magic) + offset
        struct.pack_into("<H", data, at, struct.unpack_from("<H", data, at)[0] | 1)
    path.write_bytes(data)
    return path


def damaged(path: Path) -> Path:
    pack(path, {"good/1.png": bytes(range(256)) * 9}, zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    data[500] ^= 255
    path.write_bytes(data)
    return path


def cut(path: Path) -> Path:
    pack(path, {"good/1.png": b"1" * 999})
    path.write_bytes(path.read_bytes()[:-30])
    return path


def with_false_name(path: Path) -> Path:
    pack(path, {"划/1.png": b"1"})
    path.write_bytes(path.read_bytes().replace("划".encode(), b"\xff\xff\xff"))
    return path


BAD = {
    "false-utf-8": (with_false_name, "corrupt or cut off"),
    "traversal": (lambda p: pack(p, {"good/../../evil": b"1"}), "'good/../../evil'"),
    "absolute": (lambda p: pack(p, {"/etc/evil": b"1"}), "'/etc/evil'"),
    "drive": (lambda p: pack(p, {"C:/evil": b"1"}), "'C:/evil'"),
    "twice": (lambda p: pack(p, {"a.png": b"1", "A.png": b"2"}), "'A.png' twice"),
    "long-name": (lambda p: pack(p, {"x" * 300: b"1"}), "more than 255 bytes"),
    "link": (lambda p: with_mode(p, stat.S_IFLNK | 0o777), "a link or a device"),
    "device": (lambda p: with_mode(p, stat.S_IFCHR | 0o666), "a link or a device"),
    "encrypted": (encrypted, "encrypted"),
    "damaged": (damaged, "corrupt or cut off"),
    "cut-off": (cut, "corrupt or cut off"),
    "no-zip": (lambda p: p.write_bytes(b"hello") and p, "corrupt or cut off"),
    "bomb": (lambda p: pack(p, {"good/1.png": bytes(30 << 20)}), "200-fold"),
}


@pytest.mark.parametrize(("make", "match"), BAD.values(), ids=BAD)
def test_a_bad_zip_is_refused_by_name(tmp_path: Path, make: Any, match: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(InvalidRequest) as caught:
        unpack(make(inside / "a.zip"), inside / "out" / "deep")
    assert match in caught.value.message
    assert (caught.value.code, caught.value.param) == ("bad_zip", "data")
    assert {path.name for path in tmp_path.iterdir()} == {"inside"}
    assert sum(p.stat().st_size for p in (inside / "out").rglob("*") if p.is_file()) <= 12 << 20


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        (ZipLimits(files_max=2), "3 entries"),
        (ZipLimits(file_bytes_max=1 << 20), "a file: 1 MiB"),
        (ZipLimits(total_bytes_max=5 << 20), "all: 5 MiB"),
    ],
    ids=["files", "file", "total"],
)
def test_bounds_hold_whatever_the_headers_say(
    tmp_path: Path, limits: ZipLimits, match: str
) -> None:
    data = bytes(2 << 20)
    archive = pack(tmp_path / "a.zip", {f"{n}.png": data for n in range(3)}, zipfile.ZIP_STORED)
    with pytest.raises(PayloadTooLarge, match=match) as caught:
        unpack(archive, tmp_path / "out", limits)
    assert caught.value.param == "data"
    written = sum(p.stat().st_size for p in (tmp_path / "out").rglob("*"))
    assert written <= limits.total_bytes_max
