"""``ModelInferRequest`` and ``ModelInferResponse``: tensors in messages, raw or typed.

An answer comes as the request did: raw for raw, typed for typed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue.gateway.oip import tensors
from xingyue.gateway.oip.asked import Asked, check_output, refuse_shared_memory, refuse_twice
from xingyue.gateway.oip.tasks import Signature
from xingyue.gateway.oip.tensors import Tensor
from xingyue.gateway.oip.wire import RESPONSES
from xingyue.serving.served import ServedModel

_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""FP16 has no typed contents: it goes raw."""


def read(message: Any, signature: Signature) -> Asked:
    """``InvalidRequest`` names the field."""
    raw = list(message.raw_input_contents)
    if raw and len(raw) != len(message.inputs):
        raise InvalidRequest(
            f"{len(raw)} raw_input_contents for {len(message.inputs)} inputs; send one for each",
            param="raw_input_contents",
        )
    inputs: dict[str, Tensor] = {}
    for index, given in enumerate(message.inputs):
        if not given.name:
            raise InvalidRequest("an input needs a name", param=f"inputs.{index}.name")
        refuse_twice(given.name, inputs)
        inputs[given.name] = _input(given, raw[index] if raw else None)
    wanted: dict[str, bool] = {}
    for each in message.outputs:
        check_output(each.name, parameters(each.parameters), signature.outputs)
        wanted[each.name] = bool(raw)
    return Asked(
        inputs,
        wanted or {each.name: bool(raw) for each in signature.outputs},
        parameters(message.parameters),
        message.id or None,
    )


def _input(given: Any, raw: bytes | None) -> Tensor:
    name, shape = given.name, list(given.shape)
    refuse_shared_memory(name, parameters(given.parameters))
    if raw is not None:
        if given.contents.ByteSize():
            raise InvalidRequest(
                f"{name} has contents beside raw_input_contents; send one of them", param=name
            )
        return tensors.from_raw(name, given.datatype, shape, raw)
    place = _CONTENTS.get(given.datatype)
    if place is None:
        raise InvalidRequest(
            f"{name}: {given.datatype or 'no datatype'} has no typed contents; use "
            "raw_input_contents",
            param=name,
        )
    return tensors.from_values(name, given.datatype, shape, list(getattr(given.contents, place)))


def parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Values as Python has them; one that is not set is left out."""
    chosen = {name: (each.WhichOneof("parameter_choice"), each) for name, each in given.items()}
    return {name: getattr(each, which) for name, (which, each) in chosen.items() if which}


def render(asked: Asked, served: ServedModel, made: list[Tensor]) -> tuple[bytes, dict[str, str]]:
    """The serialised answer: what is kept for a retry are its very bytes."""
    by_name = {each.name: each for each in made}
    answer = RESPONSES["ModelInfer"](
        model_name=served.id, model_version=served.version, id=asked.id or ""
    )
    for name, binary in asked.binary.items():
        tensor = by_name[name]
        output = answer.outputs.add(name=name, datatype=tensor.datatype, shape=tensor.shape)
        if binary:
            answer.raw_output_contents.append(tensors.raw_of(tensor))
        elif tensor.array is None:
            output.contents.bytes_contents.extend(tensor.elements)
        else:
            values = getattr(output.contents, _CONTENTS[tensor.datatype])
            values.extend(tensors.values_of(tensor))
    content: bytes = answer.SerializeToString()
    return content, {"content-type": "application/grpc+proto"}
