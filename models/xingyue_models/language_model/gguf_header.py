"""The head of a GGUF file: its single values and where its tensors lie.

Format: GGUF version 2 and 3 (ggml, ``docs/gguf.md``), little-endian. Lists, a vocabulary of
hundreds of thousands of strings among them, are stepped over and not kept, so it takes a fraction
of a second where the ``gguf`` package's reader takes several.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.errors import IntegrityError

_SCALARS = {
    0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?",
    10: "<Q", 11: "<q", 12: "<d",
}  # fmt: skip
_STRING, _LIST = 8, 9
_ALIGNMENT = 32
_COUNT_MAX = 1 << 20


@dataclass(frozen=True, slots=True)
class TensorPlace:
    """``shape``: as in torch, the fastest dimension last. ``offset``: bytes from the file's
    start."""

    shape: tuple[int, ...]
    kind: int
    """Number of its ggml type."""
    offset: int

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class GgufHeader:
    values: Mapping[str, Any]
    """Numbers, flags and strings by key; lists are left out."""
    tensors: Mapping[str, TensorPlace]

    @property
    def architecture(self) -> str:
        return str(self.values.get("general.architecture"))

    def value(self, key: str) -> Any:
        """Of ``<architecture>.<key>``; ``IntegrityError`` if it is missing."""
        name = f"{self.architecture}.{key}"
        if name not in self.values:
            raise IntegrityError(f"the GGUF file does not say {name}")
        return self.values[name]


def read_header(path: Path) -> GgufHeader:
    """``IntegrityError`` if the file is no GGUF of a known version, or breaks off."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _read(_Cursor(data))
        except (struct.error, UnicodeDecodeError, KeyError) as error:
            raise IntegrityError(f"{path.name} is a damaged GGUF file") from error


class _Cursor:
    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self.at = 0

    def take(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self._data, self.at)
        self.at += struct.calcsize(layout)
        return value

    def count(self) -> int:
        value = int(self.take("<Q"))
        if value > _COUNT_MAX:
            raise struct.error("a count beyond all reason")
        return value

    def text(self) -> str:
        size = self.count()
        start, self.at = self.at, self.at + size
        return self._data[start : self.at].decode()

    def value(self, kind: int) -> Any:
        """None for a list."""
        if kind == _STRING:
            return self.text()
        if kind != _LIST:
            return self.take(_SCALARS[kind])
        inner, count = self.take("<I"), self.count()
        if inner == _LIST:
            raise struct.error("lists of lists are not in use")
        if inner == _STRING:
            for _ in range(count):
                size = self.count()
                self.at += size
        else:
            self.at += count * struct.calcsize(_SCALARS[inner])
        return None


def _read(cursor: _Cursor) -> GgufHeader:
    if cursor.take("<4s") != b"GGUF" or cursor.take("<I") not in (2, 3):
        raise struct.error("no GGUF of version 2 or 3")
    tensor_count, value_count = cursor.count(), cursor.count()
    values: dict[str, Any] = {}
    for _ in range(value_count):
        key = cursor.text()
        value = cursor.value(cursor.take("<I"))
        if value is not None:
            values[key] = value
    found = []
    for _ in range(tensor_count):
        name, dimensions = cursor.text(), cursor.take("<I")
        shape = tuple(cursor.count() for _ in range(dimensions))[::-1]
        found.append((name, shape, cursor.take("<I"), cursor.take("<Q")))
    step = int(values.get("general.alignment", _ALIGNMENT))
    start = -(-cursor.at // step) * step
    return GgufHeader(
        values, {name: TensorPlace(shape, kind, start + at) for name, shape, kind, at in found}
    )
