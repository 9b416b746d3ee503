"""The bodies of ``infer`` over HTTP: JSON, JSON followed by binary tensors, one raw tensor."""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import zlib
from collections.abc import Mapping
from typing import Any

from xingyue.errors import InvalidRequest, PayloadTooLarge, UnsupportedMedia
from xingyue.gateway.bodies import parse_json
from xingyue.gateway.oip import tensors
from xingyue.gateway.oip.asked import Asked, check_output, refuse_shared_memory, refuse_twice
from xingyue.gateway.oip.tasks import Signature, TensorSpec
from xingyue.gateway.oip.tensors import Tensor
from xingyue.serving.served import ServedModel

HEADER_LENGTH = "inference-header-content-length"
_WINDOWS = {"gzip": 31, "deflate": 15}
"""Of zlib: with gzip's frame, with its own."""


def read(headers: Mapping[str, str], body: bytes, signature: Signature, max_bytes: int) -> Asked:
    """``InvalidRequest`` names the field; ``PayloadTooLarge`` for what unpacks to more than
    ``max_bytes``."""
    data = _unpacked(headers.get("content-encoding", ""), body, max_bytes)
    given = headers.get(HEADER_LENGTH)
    if given is None:
        return _asked(parse_json(data), memoryview(b""), signature)
    if not given.isdigit() or int(given) > len(data):
        raise InvalidRequest(
            f"{HEADER_LENGTH} must be the length of the JSON part in bytes, at most "
            f"{len(data)}, the body's; or 0 for one raw tensor",
            param=HEADER_LENGTH,
        )
    length = int(given)
    if length == 0:
        return _raw(data, signature)
    return _asked(parse_json(data[:length]), memoryview(data)[length:], signature)


def _unpacked(encoding: str, body: bytes, max_bytes: int) -> bytes:
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOWS:
        raise UnsupportedMedia(
            f"content encoding {encoding!r} is none of gzip, deflate, identity",
            param="content-encoding",
        )
    unpacker = zlib.decompressobj(_WINDOWS[encoding])
    try:
        data = unpacker.decompress(body, max_bytes + 1)
    except zlib.error as error:
        raise InvalidRequest(f"the body is not {encoding}: {error}", param="body") from error
    if len(data) > max_bytes:
        raise PayloadTooLarge(
            f"the body unpacks to more than {max_bytes} bytes, the limit of this platform",
            param="body",
        )
    if not unpacker.eof or unpacker.unused_data:
        raise InvalidRequest(f"the body is not one whole {encoding} stream", param="body")
    return data


def _raw(data: bytes, signature: Signature) -> Asked:
    """The whole body is the model's first tensor: one element, without its length."""
    first, *others = signature.inputs
    if needed := [each.name for each in others if each.required]:
        raise InvalidRequest(
            f"one raw tensor is not enough: beside {first.name} the model needs "
            f"{', '.join(needed)}",
            param=HEADER_LENGTH,
        )
    tensor = tensors.of_bytes(first.name, [data])
    return Asked({tensor.name: tensor}, {each.name: True for each in signature.outputs})


def _asked(header: dict[str, Any], rest: memoryview, signature: Signature) -> Asked:
    request_id = header.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequest("id must be a string", param="id")
    parameters = _parameters(header, "parameters")
    inputs: dict[str, Tensor] = {}
    at = 0
    for index, given in enumerate(_objects(header, "inputs")):
        tensor, at = _input(f"inputs.{index}", given, rest, at)
        refuse_twice(tensor.name, inputs)
        inputs[tensor.name] = tensor
    if at != len(rest):
        raise InvalidRequest(
            f"{len(rest) - at} bytes after the JSON part belong to no input; give their "
            "number as the input's parameter binary_data_size",
            param=HEADER_LENGTH,
        )
    return Asked(inputs, _outputs(header, parameters, signature.outputs), parameters, request_id)


def _input(where: str, given: dict[str, Any], rest: memoryview, at: int) -> tuple[Tensor, int]:
    """The tensor, and where the next one's binary data begins."""
    name = given.get("name")
    if not isinstance(name, str) or not name:
        raise InvalidRequest("an input needs a name", param=f"{where}.name")
    own = _parameters(given, f"{where}.parameters")
    refuse_shared_memory(name, own)
    datatype, shape = given.get("datatype"), given.get("shape")
    size = own.get("binary_data_size")
    if size is None:
        if "data" not in given:
            raise InvalidRequest(
                f"{name} has neither data nor the parameter binary_data_size", param=name
            )
        tensor = tensors.from_values(name, datatype, shape, given["data"])  # type: ignore[arg-type]
        return (_from_base64(tensor) if own.get("content_type") == "base64" else tensor), at
    if type(size) is not int or not 0 <= size <= len(rest) - at:
        raise InvalidRequest(
            f"{name}: binary_data_size is {size}, but {len(rest) - at} bytes are left", param=name
        )
    raw = rest[at : at + size]
    return tensors.from_raw(name, datatype, shape, raw), at + size  # type: ignore[arg-type]


def _from_base64(tensor: Tensor) -> Tensor:
    """JSON holds no bytes that are no text; MLServer's clients send them like this."""
    try:
        elements = tuple(base64.b64decode(each, validate=True) for each in tensor.elements)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest(f"{tensor.name} is not base64: {error}", param=tensor.name) from error
    return Tensor(tensor.name, tensor.datatype, tensor.shape, elements, tensor.array)


def _outputs(
    header: dict[str, Any], parameters: dict[str, Any], made: tuple[TensorSpec, ...]
) -> dict[str, bool]:
    usual = bool(parameters.get("binary_data_output", False))
    wanted = _objects(header, "outputs") if header.get("outputs") else []
    found: dict[str, bool] = {}
    for index, each in enumerate(wanted):
        name = each.get("name")
        own = _parameters(each, f"outputs.{index}.parameters")
        check_output(name, own, made)
        found[str(name)] = bool(own.get("binary_data", usual))
    return found or {each.name: usual for each in made}


def _objects(header: dict[str, Any], name: str) -> list[dict[str, Any]]:
    given = header.get(name)
    if not isinstance(given, list) or not all(isinstance(each, dict) for each in given):
        raise InvalidRequest(f"{name} must be a list of objects", param=name)
    return given


def _parameters(given: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = given.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidRequest(f"{where} must be an object", param=where)
    return parameters


def render(asked: Asked, served: ServedModel, made: list[Tensor]) -> tuple[bytes, dict[str, str]]:
    """The answer's body, and the headers that tell its form."""
    by_name = {each.name: each for each in made}
    outputs: list[dict[str, Any]] = []
    blobs: list[bytes] = []
    for name, binary in asked.binary.items():
        tensor = by_name[name]
        output: dict[str, Any] = {
            "name": name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if binary:
            blobs.append(tensors.raw_of(tensor))
            output["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            output["data"] = tensors.values_of(tensor)
        outputs.append(output)
    answer = {"model_name": served.id, "model_version": served.version, "outputs": outputs}
    if asked.id is not None:
        answer["id"] = asked.id
    header = json.dumps(answer, ensure_ascii=False).encode()
    if not any(asked.binary.values()):
        return header, {"content-type": "application/json"}
    form = {"content-type": "application/octet-stream", HEADER_LENGTH: str(len(header))}
    return b"".join([header, *blobs]), form


def packed(content: bytes, accepted: str) -> tuple[bytes, dict[str, str]]:
    """Only where one encoding is asked for by its name, as Triton's clients do: others list all
    that they know, and packing costs more than a factory's network does."""
    match accepted.strip().lower():
        case "gzip":
            return gzip.compress(content, compresslevel=1), {"content-encoding": "gzip"}
        case "deflate":
            return zlib.compress(content, level=1), {"content-encoding": "deflate"}
    return content, {}
