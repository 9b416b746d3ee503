"""JSON lines that a tenant sends: found in a file, a folder or a zip; read line by line. What a
line means is the caller's to say; broken ones are left out and named, never guessed at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar

from xingyue.errors import InvalidRequest, PayloadTooLarge
from xingyue_adapters.datasets.tree import Tree, read_text, walk
from xingyue_adapters.datasets.zips import unpack_new

LINES_MAX = 200_000
LINE_CHARS_MAX = 200_000
SUFFIX = ".jsonl"

Sample = TypeVar("Sample")


def open_tree(
    data: Path,
    scratch: Path,
    takes: str,
    check: Callable[[], None],
    suffixes: Collection[str] = (SUFFIX,),
) -> Tree:
    """The files that end in one of ``suffixes``: ``data`` itself, or those of a folder or a zip.

    ``takes`` says what may be sent. ``InvalidRequest`` (param ``data``) for anything else."""
    if data.is_dir():
        zips = [path for path in data.iterdir() if path.suffix.lower() == ".zip"]
        known = any(path.suffix.lower() in suffixes for path in data.iterdir())
        if len(zips) == 1 and not known:
            data = zips[0]
    if data.suffix.lower() in suffixes and data.is_file():
        return Tree(data.parent, {data.name: data})
    if data.suffix.lower() == ".zip":
        data = unpack_new(data, scratch, check)
    if not data.is_dir():
        raise InvalidRequest(f"{data.name} is no text data set; send {takes}", param="data")
    tree = walk(data)
    found = {n: p for n, p in tree.files.items() if p.suffix.lower() in suffixes}
    return Tree(tree.root, found)


def read_lines(
    files: Mapping[str, Path],
    parse: Callable[[str, dict[str, Any]], Sample],
    check: Callable[[], None],
) -> tuple[list[Sample], dict[str, str]]:
    """Samples in order of file and line, and ``<file>:<line>`` -> what is wrong with it.

    ``parse`` gets that name and the line's object; its ``ValueError`` says what is wrong.
    ``PayloadTooLarge`` beyond ``LINES_MAX`` lines."""
    samples: list[Sample] = []
    faults: dict[str, str] = {}
    for file_name, path in files.items():
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if not line.strip():
                continue
            check()
            if len(samples) + len(faults) >= LINES_MAX:
                raise PayloadTooLarge(
                    f"the data set has more than {LINES_MAX} lines; send fewer", param="data"
                )
            name = f"{file_name}:{number}"
            try:
                samples.append(parse(name, _object(line)))
            except ValueError as error:
                faults[name] = str(error)
    return samples, faults


def text_of(content: Mapping[str, Any], field: str) -> str:
    """``ValueError`` if the field is empty or not text."""
    value = content.get(field)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{field!r} is empty or not text")
    return value


def _object(line: str) -> dict[str, Any]:
    if len(line) > LINE_CHARS_MAX:
        raise ValueError(f"has more than {LINE_CHARS_MAX} characters")
    try:
        content = json.loads(line)
        # Half of an emoji, as a text cut in UTF-16 ends with, is no text.
        json.dumps(content, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise ValueError("is not a JSON object")
    return content
