"""What tensors mean to a model: its inputs as a call of the native kind, that call's answer as
outputs. Knows neither JSON bodies nor protobuf, and bills nothing: see ``metering``.
"""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from PIL import Image
from starlette.requests import Request

from xingyue.catalog.spec import EntrySpec, Task
from xingyue.errors import InvalidRequest
from xingyue.gateway.bodies import IMAGES_MAX, Images, parse_json
from xingyue.gateway.chat import whole_answer
from xingyue.gateway.chat_request import read_call
from xingyue.gateway.embeddings import embedding
from xingyue.gateway.inspect import check, inspection
from xingyue.gateway.metering import Work, check_model
from xingyue.gateway.oip.tensors import Tensor, of_bytes, of_numbers
from xingyue.gateway.services import services_of
from xingyue.serving.served import ServedModel
from xingyue.tenants.tenant import Principal

Tensors = Mapping[str, Tensor]
_SAMPLING = (
    "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "stop"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """-1 in a shape: any size. ``required``: a call without it is refused."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    required: bool = True


@dataclass(frozen=True, slots=True)
class Signature:
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """``outputs``: the native answer's JSON -> all output tensors, in the signature's order."""

    work: Work
    outputs: Callable[[dict[str, Any]], list[Tensor]]


_TEXT = TensorSpec("text", "BYTES", (1,))
_RESULT = TensorSpec("result", "BYTES", (1,))
_PROMPT = (TensorSpec("prompt", "BYTES", (1,), False), TensorSpec("messages", "BYTES", (1,), False))
_INSPECTED = (
    TensorSpec("verdict", "BYTES", (-1,)),
    TensorSpec("score", "FP32", (-1,)),
    TensorSpec("threshold", "FP32", (-1,)),
    TensorSpec("result", "BYTES", (-1,)),
)
_SIGNATURES = {
    Task.EMBEDDINGS: Signature(
        (TensorSpec("text", "BYTES", (-1,)),), (TensorSpec("embedding", "FP32", (-1, -1)),)
    ),
    Task.CHAT: Signature(_PROMPT, (_TEXT, _RESULT)),
    Task.DOCUMENT_QA: Signature(
        (*_PROMPT, TensorSpec("vector_store_ids", "BYTES", (-1,))),
        (
            _TEXT,
            TensorSpec("grounded", "BOOL", (1,)),
            TensorSpec("annotations", "BYTES", (-1,)),
            _RESULT,
        ),
    ),
}


def signature(entry: EntrySpec) -> Signature:
    if entry.task is not Task.INSPECT:
        return _SIGNATURES[entry.task]
    image = TensorSpec("image", "BYTES", (-1,))
    template = TensorSpec("template", "BYTES", (-1,), entry.template == "required")
    return Signature((image,) if entry.template == "none" else (image, template), _INSPECTED)


async def prepare(
    request: Request,
    principal: Principal,
    served: ServedModel,
    inputs: Tensors,
    parameters: Mapping[str, Any],
) -> Prepared:
    """``InvalidRequest`` names the tensor or the parameter. Parameters of no meaning here, such as
    those of Triton's schedulers, are passed over, as the protocol allows."""
    _check_names(served, inputs)
    match served.task:
        case Task.INSPECT:
            return await _inspect(request, served, inputs, parameters)
        case Task.EMBEDDINGS:
            return _embed(request, served, inputs, parameters)
        case Task.CHAT | Task.DOCUMENT_QA:
            return _chat(request, principal, served, inputs, parameters)


def _check_names(served: ServedModel, inputs: Tensors) -> None:
    taken = signature(served.entry).inputs
    names = ", ".join(each.name for each in taken)
    for name in inputs:
        if name not in {each.name for each in taken}:
            raise InvalidRequest(
                f"{served.id} takes no input {name!r}; it takes {names}", param=name
            )
    for each in taken:
        if each.required and each.name not in inputs:
            raise InvalidRequest(
                f"input {each.name!r} is missing; {served.id} takes {names}", param=each.name
            )


async def _inspect(
    request: Request, served: ServedModel, inputs: Tensors, parameters: Mapping[str, Any]
) -> Prepared:
    threshold, heatmap = parameters.get("threshold"), parameters.get("heatmap", False)
    if threshold is not None and type(threshold) not in (int, float):
        raise InvalidRequest("threshold must be a number", param="threshold")
    if not isinstance(heatmap, bool):
        raise InvalidRequest("heatmap must be true or false", param="heatmap")
    check(served, threshold)
    images = await _images(inputs["image"])
    templates: tuple[bytes, ...] = ()
    if "template" in inputs:
        templates = await _images(inputs["template"])
        if len(templates) not in (1, len(images)):
            raise InvalidRequest(
                f"template has {len(templates)} elements for {len(images)} images; send one for "
                "all or one for each",
                param="template",
            )
    many = len(images) > 1
    sent = Images(images, templates, many=many, all_or_none=True)
    work = inspection(request, served, sent, {"threshold": threshold, "heatmap": heatmap})

    def outputs(answer: dict[str, Any]) -> list[Tensor]:
        items = answer["results"] if many else [answer]
        return [
            of_bytes("verdict", (item["verdict"].encode() for item in items)),
            of_numbers("score", "FP32", [item["score"] for item in items]),
            of_numbers("threshold", "FP32", [item["threshold"] for item in items]),
            of_bytes("result", (_json(item) for item in items)),
        ]

    return Prepared(work, outputs)


async def _images(tensor: Tensor) -> tuple[bytes, ...]:
    """Encoded files as they are; raw pixels [n, height, width, 3] as lossless files."""
    name = tensor.name
    count = len(tensor.elements) if tensor.array is None else tensor.shape[0]
    if tensor.array is not None and (
        tensor.datatype != "UINT8" or len(tensor.shape) != 4 or tensor.shape[3] != 3
    ):
        raise InvalidRequest(
            f"{name} must be BYTES [n], encoded image files, or UINT8 [n, height, width, 3], "
            f"pixels in RGB; not {tensor.datatype} {list(tensor.shape)}",
            param=name,
        )
    if not 1 <= count <= IMAGES_MAX:
        raise InvalidRequest(f"{name} must have 1 to {IMAGES_MAX} elements", param=name)
    if tensor.array is not None:
        if tensor.array.size == 0:
            raise InvalidRequest(f"{name} has no pixels", code="empty_body", param=name)
        pixels = tensor.array
        return await asyncio.to_thread(lambda: tuple(_file(each) for each in pixels))
    for index, element in enumerate(tensor.elements):
        if not element:
            raise InvalidRequest(f"{name} {index} is empty", code="empty_body", param=name)
    return tensor.elements


def _file(pixels: Any) -> bytes:
    """BMP: lossless like PNG, and a hundredth of its work."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "BMP")
    return out.getvalue()


def _embed(
    request: Request, served: ServedModel, inputs: Tensors, parameters: Mapping[str, Any]
) -> Prepared:
    asked: dict[str, Any] = {"input": _texts(inputs["text"])}
    asked |= {name: parameters.get(name) for name in ("dimensions", "input_type")}

    def outputs(answer: dict[str, Any]) -> list[Tensor]:
        return [of_numbers("embedding", "FP32", [each["embedding"] for each in answer["data"]])]

    return Prepared(embedding(request, served, asked), outputs)


def _chat(
    request: Request,
    principal: Principal,
    served: ServedModel,
    inputs: Tensors,
    parameters: Mapping[str, Any],
) -> Prepared:
    asked = {name: parameters[name] for name in _SAMPLING if name in parameters}
    asked["messages"] = _messages(inputs)
    if "vector_store_ids" in inputs:
        asked["vector_store_ids"] = _texts(inputs["vector_store_ids"])
    check_model(request, principal, served)
    call = read_call(services_of(request), served, asked)

    def outputs(answer: dict[str, Any]) -> list[Tensor]:
        message = answer["choices"][0]["message"]
        made = [of_bytes("text", [message["content"].encode()])]
        if served.task is Task.DOCUMENT_QA:
            made.append(of_numbers("grounded", "BOOL", [message["grounded"]]))
            made.append(of_bytes("annotations", map(_json, message["annotations"])))
        return [*made, of_bytes("result", [_json(answer)])]

    return Prepared(whole_answer(request, principal, call), outputs)


def _messages(inputs: Tensors) -> Any:
    """What was said before, if given, then the prompt."""
    said: list[Any] = []
    if "messages" in inputs:
        text = _one(inputs["messages"])
        given = parse_json(b'{"messages":' + text.encode() + b"}")["messages"]
        if not isinstance(given, list):
            raise InvalidRequest("messages must be a JSON list of messages", param="messages")
        said = given
    if "prompt" in inputs:
        said = [*said, {"role": "user", "content": _one(inputs["prompt"])}]
    elif "messages" not in inputs:
        raise InvalidRequest(
            "send the input 'prompt', or 'messages' as a JSON list, or both", param="prompt"
        )
    return said


def _one(tensor: Tensor) -> str:
    texts = _texts(tensor)
    if len(texts) != 1:
        raise InvalidRequest(f"{tensor.name} must have one element", param=tensor.name)
    return texts[0]


def _texts(tensor: Tensor) -> list[str]:
    name = tensor.name
    if tensor.array is not None:
        raise InvalidRequest(f"{name} must be BYTES, not {tensor.datatype}", param=name)
    texts = []
    for index, element in enumerate(tensor.elements):
        try:
            texts.append(element.decode())
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"{name} {index} is not UTF-8: {error}", param=name) from error
    return texts


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
