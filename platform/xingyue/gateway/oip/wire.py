"""The protocol's messages over gRPC, as ``inference.GRPCInferenceService`` of KServe and Triton
defines them.

Made at import from the table below, in a pool of their own: no generated code that must match one
version of protobuf, and no clash with a client's own stubs in the same process. Names and numbers
of fields are the wire format; a test holds them against Triton's stubs.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"
METHODS = (
    "ServerLive",
    "ServerReady",
    "ModelReady",
    "ServerMetadata",
    "ModelMetadata",
    "ModelInfer",
    "RepositoryIndex",
)
"""Each takes ``<name>Request`` and answers ``<name>Response``."""

STREAM = "ModelStreamInfer"
"""Takes a stream of ``ModelInferRequest``, answers with one of ``ModelStreamInferResponse``."""

_NAMED = "string name 1, string version 2"
_TENSOR = (
    "string name 1, string datatype 2, repeated int64 shape 3, map parameters 4, "
    "InferTensorContents contents 5"
)
_MESSAGES = {
    "InferParameter": "oneof bool bool_param 1, oneof int64 int64_param 2, "
    "oneof string string_param 3, oneof double double_param 4, oneof uint64 uint64_param 5",
    "InferTensorContents": "repeated bool bool_contents 1, repeated int32 int_contents 2, "
    "repeated int64 int64_contents 3, repeated uint32 uint_contents 4, "
    "repeated uint64 uint64_contents 5, repeated float fp32_contents 6, "
    "repeated double fp64_contents 7, repeated bytes bytes_contents 8",
    "ServerLiveRequest": "",
    "ServerLiveResponse": "bool live 1",
    "ServerReadyRequest": "",
    "ServerReadyResponse": "bool ready 1",
    "ModelReadyRequest": _NAMED,
    "ModelReadyResponse": "bool ready 1",
    "ServerMetadataRequest": "",
    "ServerMetadataResponse": f"{_NAMED}, repeated string extensions 3",
    "ModelMetadataRequest": _NAMED,
    "ModelMetadataResponse": "string name 1, repeated string versions 2, string platform 3, "
    "repeated ModelMetadataResponse.TensorMetadata inputs 4, "
    "repeated ModelMetadataResponse.TensorMetadata outputs 5",
    "ModelMetadataResponse.TensorMetadata": "string name 1, string datatype 2, "
    "repeated int64 shape 3",
    "ModelInferRequest": "string model_name 1, string model_version 2, string id 3, "
    "map parameters 4, repeated ModelInferRequest.InferInputTensor inputs 5, "
    "repeated ModelInferRequest.InferRequestedOutputTensor outputs 6, "
    "repeated bytes raw_input_contents 7",
    "ModelInferRequest.InferInputTensor": _TENSOR,
    "ModelInferRequest.InferRequestedOutputTensor": "string name 1, map parameters 2",
    "ModelInferResponse": "string model_name 1, string model_version 2, string id 3, "
    "map parameters 4, repeated ModelInferResponse.InferOutputTensor outputs 5, "
    "repeated bytes raw_output_contents 6",
    "ModelInferResponse.InferOutputTensor": _TENSOR,
    "ModelStreamInferResponse": "string error_message 1, ModelInferResponse infer_response 2",
    "RepositoryIndexRequest": "string repository_name 1, bool ready 2",
    "RepositoryIndexResponse": "repeated RepositoryIndexResponse.ModelIndex models 1",
    "RepositoryIndexResponse.ModelIndex": f"{_NAMED}, string state 3, string reason 4",
}
"""Message -> its fields: [repeated | oneof] type name number. ``map``: parameters by name."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
    "uint32": _Field.TYPE_UINT32,
    "uint64": _Field.TYPE_UINT64,
    "float": _Field.TYPE_FLOAT,
    "double": _Field.TYPE_DOUBLE,
    "string": _Field.TYPE_STRING,
    "bytes": _Field.TYPE_BYTES,
}


def _file() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(
        name="xingyue/open_inference.proto", package=PACKAGE, syntax="proto3"
    )
    made: dict[str, descriptor_pb2.DescriptorProto] = {}
    for full_name, fields in _MESSAGES.items():
        parent, _, name = full_name.rpartition(".")
        message = made[parent].nested_type.add() if parent else file.message_type.add()
        message.name = name
        made[full_name] = message
        for words in filter(None, fields.split(", ")):
            _add(message, full_name, words.split(" "))
    return file


def _add(message: descriptor_pb2.DescriptorProto, full_name: str, words: list[str]) -> None:
    *label, kind, name, number = words
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind == "map":
        entry = message.nested_type.add(name="ParametersEntry")
        entry.options.map_entry = True
        _add(entry, f"{full_name}.ParametersEntry", ["string", "key", "1"])
        _add(entry, f"{full_name}.ParametersEntry", ["InferParameter", "value", "2"])
        kind, label = f"{full_name}.ParametersEntry", ["repeated"]
    if label == ["repeated"]:
        field.label = _Field.LABEL_REPEATED
    elif label == ["oneof"]:
        if not message.oneof_decl:
            message.oneof_decl.add(name="parameter_choice")
        field.oneof_index = 0
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"


_POOL = descriptor_pool.DescriptorPool()
_POOL.Add(_file())


def descriptor(name: str) -> Any:
    """Of a message, nested ones as ``Outer.Inner``."""
    return _POOL.FindMessageTypeByName(f"{PACKAGE}.{name}")


def message(name: str) -> Any:
    """The class of a message."""
    return message_factory.GetMessageClass(descriptor(name))


STREAMED = message(f"{STREAM}Response")
REQUESTS = {method: message(f"{method}Request") for method in METHODS}
RESPONSES = {method: message(f"{method}Response") for method in METHODS}
