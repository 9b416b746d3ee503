"""The files of a data set on disk: found, named, hashed; nothing outside its root is read.

Left aside: hidden files and what systems add (``__MACOSX``, ``Thumbs.db``, ``desktop.ini``).
Links are never followed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xingyue.errors import InvalidRequest

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"})
FILES_MAX = 50_000
TEXT_MAX_BYTES = 64 << 20
_SYSTEM = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


@dataclass(frozen=True, slots=True)
class Tree:
    """``files``: name relative to ``root``, with ``/`` -> path. ``links``: names not followed."""

    root: Path
    files: Mapping[str, Path]
    links: tuple[str, ...] = ()

    def images(self) -> dict[str, Path]:
        return {name: path for name, path in self.files.items() if is_image(name)}

    def find(self, suffix: str) -> dict[str, Path]:
        return {name: path for name, path in self.files.items() if name.lower().endswith(suffix)}


def is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def is_system_file(name: str) -> bool:
    """Whether a path with ``/`` is of an operating system, not of the data set."""
    return any(part.startswith(".") or part.lower() in _SYSTEM for part in name.split("/"))


def walk(root: Path) -> Tree:
    """All files under ``root``; a lone folder at the top (beside read-me files) is entered.

    ``InvalidRequest`` where there is no folder or more than ``FILES_MAX`` files.
    """
    if not root.is_dir():
        raise InvalidRequest(f"there is no folder {root}", param="data")
    found: dict[str, Path] = {}
    links: list[str] = []
    for folder, below, names in os.walk(root):
        below.sort()
        for name in (*names, *below):
            path = Path(folder, name)
            relative = path.relative_to(root).as_posix()
            if is_system_file(relative):
                continue
            if not _is_text(relative):
                raise InvalidRequest(
                    f"the file name {relative!r} is not in UTF-8; rename it, or send a zip",
                    param="data",
                )
            if path.is_symlink():
                links.append(relative)
            elif name in names:
                found[relative] = path
        if len(found) > FILES_MAX:
            raise InvalidRequest(
                f"the data set has more than {FILES_MAX} files; send fewer", param="data"
            )
    tree = Tree(root, dict(sorted(found.items())), tuple(sorted(links)))
    return _entered(tree)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _entered(tree: Tree) -> Tree:
    """Skip wrapping folders: every file that matters lies in one folder with no label's meaning."""
    while True:
        tops = {name.split("/")[0] for name in tree.files if "/" in name}
        loose = [name for name in tree.files if "/" not in name and not is_note(name)]
        if len(tops) != 1 or loose:
            return tree
        (top,) = tops
        # A lone folder of images is a class ("good/"), not a wrapper.
        if any(name.count("/") == 1 and is_image(name) for name in tree.files) and not any(
            name.count("/") == 1 and is_label_file(name) for name in tree.files
        ):
            return tree
        start = f"{top}/"
        tree = Tree(
            tree.root / top,
            {name.removeprefix(start): p for name, p in tree.files.items() if "/" in name},
            tuple(name.removeprefix(start) for name in tree.links),
        )


def is_note(name: str) -> bool:
    """A read-me or a licence beside the data."""
    stem, suffix = os.path.splitext(name.lower())
    return suffix in (".md", ".pdf", ".rst") or stem.startswith(("readme", "licen", "copying"))


def is_label_file(name: str) -> bool:
    return name.lower().endswith((".csv", ".json", ".xml", ".txt", ".yaml", ".yml"))


def read_text(path: Path) -> str:
    """Text in UTF-8 (with or without a mark) or GB 18030. ``InvalidRequest`` for anything else."""
    if path.stat().st_size > TEXT_MAX_BYTES:
        raise InvalidRequest(
            f"{path.name} has more than {TEXT_MAX_BYTES >> 20} MiB; split it", param="data"
        )
    data = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InvalidRequest(
        f"{path.name} is neither UTF-8 nor GB 18030 text; save it as UTF-8", param="data"
    )


def digest_of(
    tree: Tree, known: Mapping[Path, str], check: Callable[[], None], *, notes: bool = False
) -> str:
    """``sha256:<hex>`` over names and contents, whatever their order; read-me files apart unless
    ``notes``: of a set of documents they are the data.

    ``known``: hashes that are at hand already.
    """
    total = hashlib.sha256()
    for name in sorted(tree.files, key=lambda name: name.encode()):
        if is_note(name) and not notes:
            continue
        path = tree.files[name]
        content = known.get(path) or file_sha256(path)
        total.update(name.encode() + b"\0" + content.encode() + b"\n")
        check()
    return f"sha256:{total.hexdigest()}"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
