"""Tensors of the Open Inference Protocol: data types, shapes, and their bytes.

Raw bytes are little-endian, row-major, without padding; a BYTES element is preceded by its length
as 4 bytes. Nothing here knows a model or a transport.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from xingyue.errors import InvalidRequest

NUMERIC: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
DATATYPES = (*NUMERIC, "BYTES")
_DIMENSIONS_MAX = 8
_KINDS = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}
"""Kind of a data type -> kinds of values that it takes."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """``elements``: of a BYTES tensor; ``array``: of any other, in its shape."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: tuple[bytes, ...] = ()
    array: npt.NDArray[Any] | None = None


def of_bytes(name: str, elements: Iterable[bytes]) -> Tensor:
    """BYTES of shape [n]."""
    held = tuple(elements)
    return Tensor(name, "BYTES", (len(held),), held)


def of_numbers(name: str, datatype: str, values: Any) -> Tensor:
    array = np.asarray(values, dtype=NUMERIC[datatype])
    return Tensor(name, datatype, array.shape, array=array)


def from_raw(name: str, datatype: str, shape: Any, raw: bytes | memoryview) -> Tensor:
    """``InvalidRequest`` names the tensor where type, shape and bytes don't agree."""
    size = _check(name, datatype, shape)
    shape = tuple(shape)
    if datatype == "BYTES":
        return Tensor(name, datatype, shape, _elements(name, size, raw))
    dtype = NUMERIC[datatype]
    if len(raw) != size * dtype.itemsize:
        raise InvalidRequest(
            f"{name}: shape {list(shape)} of {datatype} is {size * dtype.itemsize} bytes, "
            f"but {len(raw)} were sent",
            param=name,
        )
    return Tensor(name, datatype, shape, array=np.frombuffer(raw, dtype).reshape(shape))


def from_values(name: str, datatype: str, shape: Any, values: Any) -> Tensor:
    """Of JSON or a typed list: nested as the shape, or flat in row-major order."""
    size = _check(name, datatype, shape)
    shape = tuple(shape)
    if datatype == "BYTES":
        elements = tuple(_as_bytes(name, value) for value in _flat(values))
        _same_size(name, shape, size, len(elements))
        return Tensor(name, datatype, shape, elements)
    return Tensor(name, datatype, shape, array=_array(name, datatype, shape, size, values))


def raw_of(tensor: Tensor) -> bytes:
    if tensor.array is None:
        return b"".join(struct.pack("<I", len(each)) + each for each in tensor.elements)
    return tensor.array.tobytes()


def values_of(tensor: Tensor) -> list[Any]:
    """For JSON: flat, row-major. ``InvalidRequest`` for bytes that are no text."""
    if tensor.array is not None:
        flat: list[Any] = tensor.array.ravel().tolist()
        return flat
    try:
        return [each.decode() for each in tensor.elements]
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"{tensor.name} holds bytes that are no text; ask for it with binary_data true",
            param=tensor.name,
        ) from error


def _check(name: str, datatype: Any, shape: Any) -> int:
    """The number of elements."""
    if datatype not in DATATYPES:
        raise InvalidRequest(
            f"{name}: datatype {datatype!r} is none of {', '.join(DATATYPES)}", param=name
        )
    whole = isinstance(shape, Sequence) and all(type(each) is int and each >= 0 for each in shape)
    if not whole or not 1 <= len(shape) <= _DIMENSIONS_MAX:
        raise InvalidRequest(
            f"{name}: shape must be a list of 1 to {_DIMENSIONS_MAX} whole numbers", param=name
        )
    return math.prod(shape)


def _same_size(name: str, shape: tuple[int, ...], size: int, given: int) -> None:
    if size != given:
        raise InvalidRequest(
            f"{name}: shape {list(shape)} has {size} elements, but {given} were sent", param=name
        )


def _elements(name: str, size: int, raw: bytes | memoryview) -> tuple[bytes, ...]:
    found: list[bytes] = []
    at = 0
    while at < len(raw):
        if at + 4 > len(raw):
            raise InvalidRequest(f"{name}: the length of an element is cut off", param=name)
        (length,) = struct.unpack_from("<I", raw, at)
        at += 4
        if at + length > len(raw):
            raise InvalidRequest(
                f"{name}: element {len(found)} says it has {length} bytes, but {len(raw) - at} "
                "are left; precede each element with its length, 4 bytes, little-endian",
                param=name,
            )
        found.append(bytes(raw[at : at + length]))
        at += length
    _same_size(name, (size,), size, len(found))
    return tuple(found)


def _flat(values: Any) -> list[Any]:
    """Depth first, without recursion: JSON may be nested deeply."""
    found: list[Any] = []
    waiting = [values]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(reversed(value))
        else:
            found.append(value)
    return found


def _as_bytes(name: str, value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    raise InvalidRequest(f"{name}: an element of BYTES must be a string", param=name)


def _array(
    name: str, datatype: str, shape: tuple[int, ...], size: int, values: Any
) -> npt.NDArray[Any]:
    dtype = NUMERIC[datatype]
    try:
        given = np.asarray(values)
    except (ValueError, OverflowError) as error:
        raise InvalidRequest(
            f"{name}: its data is not of shape {list(shape)}", param=name
        ) from error
    _same_size(name, shape, size, given.size)
    if size and given.dtype.kind not in _KINDS[dtype.kind]:
        raise InvalidRequest(f"{name}: its data is not of type {datatype}", param=name)
    if size and dtype.kind in "ui":
        limits = np.iinfo(dtype)
        if given.min() < limits.min or given.max() > limits.max:
            raise InvalidRequest(f"{name}: a value does not fit into {datatype}", param=name)
    with np.errstate(over="ignore"):
        return given.astype(dtype).reshape(shape)
