"""The Open Inference Protocol over gRPC, with Triton's own client as it is."""

from __future__ import annotations

import asyncio
import json
import queue

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from google.protobuf import descriptor_pb2
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from xingyue.errors import DeadlineExceeded, Overloaded
from xingyue.gateway.oip import wire
from xingyue.serving.fakes import ScriptedTrunk

MODEL = "appliance-surface-qc"


class Lab:
    """A gateway behind a port, Triton's client, and a tenant's key in its metadata."""

    def __init__(self, world):
        self.world = world
        self.address = f"127.0.0.1:{world.grpc_port}"
        self.client = triton.InferenceServerClient(self.address)
        self.headers = {"authorization": f"Bearer {world.key('acme')}"}

    def infer(self, model, *inputs, headers=(), **options):
        return self.client.infer(
            model, list(inputs), headers=self.headers | dict(headers), **options
        )

    def bills(self):
        events = self.world.call("GET", "/v1/usage/events", "acme").json()
        return [(event["data"]["units"], event["data"]["cost_micros"]) for event in events]


@pytest.fixture
def lab(listen):
    lab = Lab(listen())
    yield lab
    lab.client.close()


def tensor(name, elements, datatype="BYTES"):
    array = np.array(elements, dtype=np.object_) if datatype == "BYTES" else elements
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array)
    return made


def fault(call):
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status().removeprefix("StatusCode."), caught.value.message()


def test_names_and_numbers_on_the_wire_are_tritons():
    def fields(descriptor):
        made = descriptor_pb2.DescriptorProto()
        descriptor.CopyToProto(made)
        own = {f.name: (f.number, f.type, f.label, f.type_name) for f in made.field}
        return own, {each.name: fields(each) for each in descriptor.nested_types}

    for name in wire._MESSAGES:
        theirs = service_pb2.DESCRIPTOR
        place = name.split(".")
        found = theirs.message_types_by_name[place[0]]
        for part in place[1:]:
            found = found.nested_types_by_name[part]
        assert fields(wire.descriptor(name)) == fields(found), name
    known = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    assert set(wire.METHODS) <= set(known)


def test_the_server_is_alive_and_ready_without_a_key(lab):
    assert lab.client.is_server_live()
    assert lab.client.is_server_ready()
    assert "binary_tensor_data" in lab.client.get_server_metadata().extensions


def test_every_entry_of_the_catalogue_tells_its_tensors(lab):
    index = lab.client.get_model_repository_index(headers=lab.headers)
    assert {row.name for row in index.models} == {e.id for e in lab.world.services.catalog.models}
    for row in index.models:
        assert (row.version, row.state) == ("1", "READY")
        assert lab.client.is_model_ready(row.name, row.version, headers=lab.headers)
        told = lab.client.get_model_metadata(row.name, headers=lab.headers)
        assert (told.name, list(told.versions)) == (row.name, ["1"])
        assert told.inputs
        assert told.outputs
    assert not lab.client.is_model_ready("none", headers=lab.headers)


def test_images_are_inspected_and_billed_as_by_the_native_route(lab):
    outputs = [triton.InferRequestedOutput(name) for name in ("score", "result")]
    images = tensor("image", [b"0.2", b"0.7", b"0.9"])
    result = lab.infer(MODEL, images, outputs=outputs, request_id="line-7")
    assert (result.get_response().id, result.get_response().model_version) == ("line-7", "1")
    np.testing.assert_allclose(result.as_numpy("score"), np.float32([0.2, 0.7, 0.9]))
    assert result.as_numpy("verdict") is None
    items = [json.loads(item) for item in result.as_numpy("result")]
    assert [item["verdict"] for item in items] == ["pass", "fail", "fail"]
    files = [("image", (f"{i}.png", str(each))) for i, each in enumerate((0.2, 0.7, 0.9))]
    native = lab.world.call("POST", f"/v1/inspect/{MODEL}", "acme", files=files)
    assert native.status_code == 200
    assert lab.bills() == [(3, 3600), (3, 3600)]


def typed(**changes):
    request = service_pb2.ModelInferRequest(model_name=MODEL, **changes)
    given = request.inputs.add(name="image", datatype="BYTES", shape=[1])
    given.contents.bytes_contents.append(b"0.7")
    return request


def test_typed_contents_are_answered_in_kind_with_the_headers_as_metadata(lab):
    with grpc.insecure_channel(lab.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        asked = typed()
        asked.parameters["threshold"].double_param = 0.9
        metadata = [*lab.headers.items(), ("x-request-id", "line-7")]
        answer, call = stub.ModelInfer.with_call(asked, metadata=metadata)
    outputs = {each.name: each.contents for each in answer.outputs}
    assert not answer.raw_output_contents
    assert list(outputs["verdict"].bytes_contents) == [b"fail"]
    assert list(outputs["score"].fp32_contents) == [pytest.approx(0.7)]
    told = dict(call.trailing_metadata())
    assert told["x-request-id"] == "line-7"
    assert told["x-xingyue-model"] == f"{MODEL}@1"
    assert told["x-xingyue-cost-micros"] == "1200"
    assert told["x-ratelimit-limit-requests"]


def test_a_retry_with_its_key_gets_the_first_answer_free(lab):
    once = {"idempotency-key": "line-7-0001"}
    first = lab.infer(MODEL, tensor("image", [b"0.7"]), headers=once)
    again = lab.infer(MODEL, tensor("image", [b"0.7"]), headers=once)
    assert first.get_response() == again.get_response()
    assert lab.bills() == [(1, 1200)]
    other = fault(lambda: lab.infer(MODEL, tensor("image", [b"0.8"]), headers=once))
    assert other[0] == "ABORTED"


def test_a_variant_is_called_by_name_and_version(lab):
    lab.world.fit("acme", "drum", shift=0.4)
    for name, number in (("acme.drum", ""), ("acme.drum@1", ""), ("acme.drum", "1")):
        result = lab.infer(name, tensor("image", [b"0.2"]), model_version=number)
        np.testing.assert_allclose(result.as_numpy("score"), np.float32([0.6]))


def test_the_async_client_works_as_it_is(lab):
    async def ask():
        async with triton_aio.InferenceServerClient(lab.address) as client:
            assert await client.is_server_ready()
            image = [tensor("image", [b"0.7"])]
            return await client.infer(MODEL, image, headers=lab.headers)

    assert asyncio.run(ask()).as_numpy("verdict").tolist() == [b"fail"]


def test_every_message_of_a_stream_is_a_call_of_its_own(lab):
    answers = queue.Queue()
    lab.client.start_stream(lambda result, error: answers.put((result, error)), headers=lab.headers)
    for image in (b"0.2", b"no number", b"0.9"):
        lab.client.async_stream_infer(MODEL, [tensor("image", [image])])
    (first, _), (_, error), (last, _) = (answers.get(timeout=30) for _ in range(3))
    lab.client.stop_stream()
    assert first.as_numpy("verdict").tolist() == [b"pass"]
    assert error.message() == "the image is no number"
    assert last.as_numpy("verdict").tolist() == [b"fail"]
    assert lab.bills() == [(1, 1200), (1, 1200)]


def test_faults_have_their_codes_and_are_not_billed(lab):
    image = tensor("image", [b"0.7"])
    assert fault(lambda: lab.client.infer(MODEL, [image]))[0] == "UNAUTHENTICATED"
    assert fault(lambda: lab.infer("none", image))[0] == "NOT_FOUND"
    bad = tensor("image", [b"0.2", b"no number"])
    assert fault(lambda: lab.infer(MODEL, bad)) == (
        "INVALID_ARGUMENT",
        "image 1: the image is no number",
    )
    wrong = tensor("picture", [b"0.7"])
    assert "takes no input" in fault(lambda: lab.infer(MODEL, wrong))[1]
    boxes = [triton.InferRequestedOutput("boxes")]
    assert "no output 'boxes'" in fault(lambda: lab.infer(MODEL, image, outputs=boxes))[1]
    assert lab.bills() == []


@pytest.mark.parametrize(
    ("error", "code", "wait"),
    [
        (Overloaded("busy", retry_after_s=2), "UNAVAILABLE", "2"),
        (DeadlineExceeded("late"), "DEADLINE_EXCEEDED", None),
        (RuntimeError("a fault of ours"), "INTERNAL", None),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_inside_has_its_code(lab, error, code, wait):
    async def failing(*_, **__):
        raise error

    lab.world.services.inference.run = failing
    with grpc.insecure_channel(lab.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(typed(), metadata=list(lab.headers.items()))
    assert caught.value.code().name == code
    assert dict(caught.value.trailing_metadata()).get("retry-after") == wait
    assert "a fault of ours" not in caught.value.details()
    assert lab.bills() == []


def test_a_message_that_is_none_or_too_large_is_refused(listen):
    lab = Lab(listen(body_max_bytes=1 << 16))
    code, _ = fault(lambda: lab.infer(MODEL, tensor("image", [b"0" * (1 << 17)])))
    assert code == "RESOURCE_EXHAUSTED"
    with grpc.insecure_channel(lab.address) as channel:
        call = channel.unary_unary(f"/{wire.SERVICE}/ModelInfer")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"\xff\xff", metadata=list(lab.headers.items()))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    mixed = typed(raw_input_contents=[b"\x01\0\0\x000"])
    with grpc.insecure_channel(lab.address) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            stub.ModelInfer(mixed, metadata=list(lab.headers.items()))
    assert "beside raw_input_contents" in caught.value.details()
    lab.client.close()


def test_a_callers_deadline_ends_the_call_unbilled(lab):
    async def slow(*_, **__):
        await asyncio.sleep(30)

    lab.world.services.inference.run = slow
    image = tensor("image", [b"0.7"])
    assert fault(lambda: lab.infer(MODEL, image, client_timeout=0.2))[0] == "DEADLINE_EXCEEDED"
    assert lab.bills() == []
    account = lab.world.call("GET", "/v1/account", "acme").json()
    assert account["balance"]["available_micros"] == 100_000_000


def test_a_prompt_is_answered(listen):
    trunk = ScriptedTrunk()
    lab = Lab(listen(lambda catalog: dict.fromkeys(catalog.trunks, trunk)))
    result = lab.infer("pharma-assistant", tensor("prompt", ["hello"]), parameters={"seed": 7})
    assert result.as_numpy("text").tolist() == [b"one two three"]
    assert trunk.calls[-1].params["seed"] == 7
    assert lab.bills() == [(8, 32)]
    lab.client.close()
