"""The Open Inference Protocol over HTTP, with Triton's own client as it is."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib

import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from xingyue.errors import Overloaded
from xingyue.serving.fakes import ScriptedTrunk

MODEL = "appliance-surface-qc"
INFER = f"/v2/models/{MODEL}/infer"


class Lab:
    """A gateway behind a port, Triton's client, and a tenant's key in its headers."""

    def __init__(self, world):
        self.world = world
        self.client = triton.InferenceServerClient(
            f"{world.client.base_url.host}:{world.client.base_url.port}", network_timeout=240
        )
        self.headers = {"Authorization": f"Bearer {world.key('acme')}"}

    def infer(self, model, *inputs, headers=(), **options):
        return self.client.infer(
            model, list(inputs), headers=self.headers | dict(headers), **options
        )

    def bills(self):
        events = self.world.call("GET", "/v1/usage/events", "acme").json()
        return [(event["data"]["units"], event["data"]["cost_micros"]) for event in events]

    def post(self, content, path=INFER, **headers):
        return self.world.call(
            "POST",
            path,
            "acme",
            content=content,
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        )


@pytest.fixture
def lab(listen):
    lab = Lab(listen())
    yield lab
    lab.client.close()


def tensor(name, elements, datatype="BYTES", binary=True):
    array = np.array(elements, dtype=np.object_) if datatype == "BYTES" else elements
    made = triton.InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def fault(call):
    with pytest.raises(InferenceServerException) as caught:
        call()
    return caught.value.status(), caught.value.message()


def test_the_server_is_alive_and_ready_without_a_key(lab):
    assert lab.client.is_server_live()
    assert lab.client.is_server_ready()
    assert lab.world.client.get("/v2/health/ready").json() == {"ready": True}
    told = lab.client.get_server_metadata()
    assert told["name"] == "xingyue"
    assert "binary_tensor_data" in told["extensions"]


def test_a_server_that_is_not_ready_says_400(world):
    async def missing():
        return ["pharma-embedding"]

    world.services.readiness.missing = missing
    answer = world.client.get("/v2/health/ready")
    assert (answer.status_code, answer.json()) == (400, {"ready": False})
    ready = [
        world.call("GET", f"/v2/models/{model}/ready", "acme").status_code
        for model in (MODEL, "pharma-embedding", "pharma-doc-qa")
    ]
    assert ready == [200, 400, 400]
    rows = world.call("POST", "/v2/repository/index", "acme", json={}).json()
    states = {row["name"]: row["state"] for row in rows}
    assert (states[MODEL], states["pharma-doc-qa"]) == ("READY", "UNAVAILABLE")
    kept = world.call("POST", "/v2/repository/index", "acme", json={"ready": True}).json()
    assert {row["name"] for row in kept} == {n for n, state in states.items() if state == "READY"}


def test_every_entry_of_the_catalogue_tells_its_tensors(lab):
    names = {row["name"] for row in lab.client.get_model_repository_index(headers=lab.headers)}
    assert names == {entry.id for entry in lab.world.services.catalog.models}
    for name in names:
        assert lab.client.is_model_ready(name, headers=lab.headers)
        assert lab.client.is_model_ready(name, "1", headers=lab.headers)
        told = lab.client.get_model_metadata(name, "1", headers=lab.headers)
        assert (told["name"], told["versions"]) == (name, ["1"])
        assert told["inputs"]
        assert told["outputs"]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "json"])
def test_images_are_inspected_and_billed_as_by_the_native_route(lab, binary):
    outputs = [
        triton.InferRequestedOutput(name, binary_data=binary) for name in ("score", "result")
    ]
    images = tensor("image", [b"0.2", b"0.7", b"0.9"], binary=binary)
    result = lab.infer(MODEL, images, outputs=outputs, request_id="line-7")
    assert result.get_response()["id"] == "line-7"
    assert result.get_response()["model_version"] == "1"
    np.testing.assert_allclose(result.as_numpy("score"), np.float32([0.2, 0.7, 0.9]))
    assert result.as_numpy("verdict") is None
    items = [json.loads(item) for item in result.as_numpy("result")]
    assert [item["verdict"] for item in items] == ["pass", "fail", "fail"]
    assert items[0]["usage"]["cost_micros"] == 1200
    files = [("image", (f"{i}.png", str(each))) for i, each in enumerate((0.2, 0.7, 0.9))]
    native = lab.world.call("POST", f"/v1/inspect/{MODEL}", "acme", files=files)
    assert native.status_code == 200
    ours, theirs = lab.bills()
    assert ours == theirs == (3, 3600)


def test_all_outputs_come_as_binary_unless_told_otherwise(lab):
    result = lab.infer(MODEL, tensor("image", [b"0.7"]))
    assert result.as_numpy("verdict").tolist() == [b"fail"]
    assert result.as_numpy("threshold").tolist() == [0.5]
    assert all("data" not in output for output in result.get_response()["outputs"])


@pytest.mark.parametrize("form", ["gzip", "deflate"])
def test_bodies_are_compressed_both_ways(lab, form):
    result = lab.infer(
        MODEL,
        tensor("image", [b"0.7"]),
        request_compression_algorithm=form,
        response_compression_algorithm=form,
    )
    assert result.as_numpy("verdict").tolist() == [b"fail"]


def test_the_async_client_works_as_it_is(lab):
    async def ask():
        address = f"{lab.world.client.base_url.host}:{lab.world.client.base_url.port}"
        async with triton_aio.InferenceServerClient(address) as client:
            assert await client.is_server_ready()
            image = [tensor("image", [b"0.7"])]
            return await client.infer(MODEL, image, headers=lab.headers)

    assert asyncio.run(ask()).as_numpy("verdict").tolist() == [b"fail"]


def test_the_answer_bears_the_headers_of_every_call(lab):
    asked = {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["0.7"]}]}
    answer = lab.post(json.dumps(asked))
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-xingyue-model"] == f"{MODEL}@1"
    assert answer.headers["x-xingyue-cost-micros"] == "1200"
    assert answer.headers["x-ratelimit-limit-requests"]
    assert [each["name"] for each in answer.json()["outputs"]] == [
        "verdict", "score", "threshold", "result"
    ]  # fmt: skip


def test_one_raw_tensor_is_the_image_itself(lab):
    answer = lab.post(b"0.7", inference_header_content_length="0")
    assert answer.status_code == 200
    length = int(answer.headers["inference-header-content-length"])
    outputs = json.loads(answer.content[:length])["outputs"]
    size = outputs[0]["parameters"]["binary_data_size"]
    assert answer.content[length : length + size] == b"\x04\0\0\0fail"
    path = "/v2/models/pharma-doc-qa/infer"
    refused = lab.post(b"what?", path, inference_header_content_length="0")
    assert (refused.status_code, "vector_store_ids" in refused.json()["error"]) == (400, True)


def test_an_image_in_json_may_be_base64(lab):
    given = {
        "name": "image",
        "shape": [1],
        "datatype": "BYTES",
        "data": ["MC43"],
        "parameters": {"content_type": "base64"},
    }
    answer = lab.post(json.dumps({"inputs": [given]}))
    assert answer.json()["outputs"][0]["data"] == ["fail"]


def test_a_retry_with_its_key_gets_the_first_answer_free(lab):
    asked = {"headers": {"Idempotency-Key": "line-7-0001"}, "request_id": "a"}
    first = lab.infer(MODEL, tensor("image", [b"0.7"]), **asked)
    again = lab.infer(MODEL, tensor("image", [b"0.7"]), **asked)
    assert first.get_response() == again.get_response()
    assert first.as_numpy("result").tolist() == again.as_numpy("result").tolist()
    assert lab.bills() == [(1, 1200)]


def test_one_bad_item_fails_the_request_by_name_and_nothing_is_billed(lab):
    images = tensor("image", [b"0.2", b"no number", b"0.9"])
    status, words = fault(lambda: lab.infer(MODEL, images))
    assert (status, words) == ("400", "image 1: the image is no number")
    assert lab.bills() == []


def test_a_variant_and_its_versions_are_called_by_name(lab):
    version = lab.world.fit("acme", "drum", shift=0.4)
    assert version.version == "1"
    for name, number in (("acme.drum", ""), ("acme.drum@1", ""), ("acme.drum", "1")):
        result = lab.infer(name, tensor("image", [b"0.2"]), model_version=number)
        np.testing.assert_allclose(result.as_numpy("score"), np.float32([0.6]))
        assert result.get_response()["model_name"] == "acme.drum"
    rows = lab.client.get_model_repository_index(headers=lab.headers)
    row = {"name": "acme.drum", "version": "1", "state": "READY", "reason": ""}
    assert row in rows
    other = {"Authorization": f"Bearer {lab.world.key('rival')}"}
    assert row not in lab.client.get_model_repository_index(headers=other)
    status, _ = fault(lambda: lab.client.get_model_metadata("acme.drum", headers=other))
    assert status == "404"


def one(data="0.7", **changes):
    given = {"name": "image", "shape": [1], "datatype": "BYTES", "data": [data]}
    return {"inputs": [given | changes]}


BAD = [
    ("no-json", b"{", 400, "not JSON"),
    ("empty", b"", 400, "not JSON"),
    ("no-inputs", {}, 400, "inputs must be a list"),
    ("no-name", {"inputs": [{}]}, 400, "needs a name"),
    ("other-input", one(name="picture"), 400, "takes no input 'picture'; it takes image"),
    ("missing", {"inputs": []}, 400, "input 'image' is missing"),
    ("twice", {"inputs": one()["inputs"] * 2}, 400, "there twice"),
    ("datatype", one(datatype="FP8"), 400, "none of BOOL"),
    ("shape", one(shape=[2]), 400, "has 2 elements, but 1 were sent"),
    ("negative", one(shape=[-1]), 400, "whole numbers"),
    ("no-data", {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES"}]}, 400, "neither"),
    ("number", one(data=7), 400, "must be a string"),
    ("float-image", one(datatype="FP32", data=[0.5]), 400, "UINT8 [n, height, width, 3]"),
    ("range", one(datatype="UINT8", data=[256]), 400, "does not fit into UINT8"),
    ("ragged", one(datatype="UINT8", shape=[3], data=[[1], [2, 3]]), 400, "not of shape"),
    ("empty-image", one(data=""), 400, "image 0 is empty"),
    ("base64", one(data="€", parameters={"content_type": "base64"}), 400, "not base64"),
    ("shared", one(parameters={"shared_memory_region": "x"}), 400, "shared memory"),
    ("output", one() | {"outputs": [{"name": "boxes"}]}, 400, "there is no output 'boxes'"),
    ("threshold", one() | {"parameters": {"threshold": 2}}, 400, "threshold must lie in [0, 1]"),
    ("heatmap", one() | {"parameters": {"heatmap": "yes"}}, 400, "heatmap must be true or false"),
    ("template", {"inputs": [*one()["inputs"], *one(name="template")["inputs"]]}, 400, "takes no"),
]


@pytest.mark.parametrize(
    ("body", "status", "words"), [row[1:] for row in BAD], ids=[r[0] for r in BAD]
)
def test_a_bad_body_is_told_in_the_protocols_envelope(world, body, status, words):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = world.call("POST", INFER, "acme", content=content)
    assert answer.status_code == status
    assert answer.json().keys() == {"error"}
    assert words in answer.json()["error"]
    assert world.call("GET", "/v1/usage/events", "acme").json() == []


def packed(size=8, data=b"\x04\0\0\x000.70"):
    given = {"name": "image", "shape": [1], "datatype": "BYTES"}
    header = json.dumps({"inputs": [given | {"parameters": {"binary_data_size": size}}]}).encode()
    return header + data, str(len(header))


@pytest.mark.parametrize(
    ("size", "data", "words"),
    [
        (9, b"\x04\0\0\x000.70", "8 bytes are left"),
        (8, b"\x04\0\0\x000.70!", "1 bytes after the JSON part belong to no input"),
        (8, b"\x05\0\0\x000.70", "says it has 5 bytes, but 4 are left"),
        (8, b"\x02\0\0\x000.70", "is cut off"),
        (0, b"", "has 1 elements, but 0 were sent"),
        (-1, b"", "binary_data_size is -1"),
    ],
)
def test_binary_data_that_does_not_add_up_is_refused(world, size, data, words):
    content, length = packed(size, data)
    headers = {"inference-header-content-length": length}
    answer = world.call("POST", INFER, "acme", content=content, headers=headers)
    assert (answer.status_code, words in answer.json()["error"]) == (400, True), answer.text


@pytest.mark.parametrize("length", ["-1", "9999", "x"])
def test_a_header_length_that_can_not_be_is_refused(world, length):
    headers = {"inference-header-content-length": length}
    answer = world.call("POST", INFER, "acme", content=packed()[0], headers=headers)
    assert (answer.status_code, "at most" in answer.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("encoding", "pack", "status"),
    [
        ("gzip", lambda body: b"junk", 400),
        ("gzip", lambda body: gzip.compress(body)[:-4], 400),
        ("deflate", lambda body: zlib.compress(body) + b"x", 400),
        ("gzip", lambda body: gzip.compress(b" " * (1 << 21)), 413),
        ("br", lambda body: body, 415),
    ],
    ids=["no-gzip", "cut", "rest", "bomb", "unknown"],
)
def test_content_encodings_that_do_not_unpack(open_world, encoding, pack, status):
    world = open_world(body_max_bytes=1 << 20)
    headers = {"content-encoding": encoding}
    content = pack(json.dumps(one()).encode())
    answer = world.call("POST", INFER, "acme", content=content, headers=headers)
    assert (answer.status_code, set(answer.json())) == (status, {"error"})


def test_errors_of_every_kind_have_the_envelope(world):
    def of(answer):
        return answer.status_code, list(answer.json())

    assert of(world.client.post(INFER)) == (401, ["error"])
    assert isinstance(world.client.post(INFER).json()["error"], str)
    assert of(world.call("POST", "/v2/models/none/infer", "acme", json=one())) == (404, ["error"])
    assert of(world.call("GET", f"/v2/models/{MODEL}/versions/9", "acme")) == (404, ["error"])
    assert of(world.call("GET", f"/v2/models/{MODEL}@1/versions/2", "acme")) == (400, ["error"])
    assert of(world.client.get("/v2/nothing")) == (404, ["error"])
    assert of(world.call("GET", INFER, "acme")) == (405, ["error"])

    async def shed(*_, **__):
        raise Overloaded("busy", retry_after_s=2)

    world.services.inference.run = shed
    answer = world.call("POST", INFER, "acme", json=one())
    assert (of(answer), answer.headers["retry-after"]) == ((503, ["error"]), "2")
    assert world.call("GET", "/v1/usage/events", "acme").json() == []


@pytest.fixture
def talk(listen):
    trunk = ScriptedTrunk()
    lab = Lab(listen(lambda catalog: dict.fromkeys(catalog.trunks, trunk)))
    lab.trunk = trunk
    yield lab
    lab.client.close()


def test_a_prompt_is_answered(talk):
    result = talk.infer(
        "pharma-assistant", tensor("prompt", ["hello"]), parameters={"max_tokens": 9}
    )
    assert result.as_numpy("text").tolist() == [b"one two three"]
    assert json.loads(result.as_numpy("result")[0])["usage"]["total_tokens"] == 8
    assert talk.trunk.calls[-1].params["max_tokens"] == 9
    assert talk.bills() == [(8, 32)]


def test_messages_come_before_the_prompt(talk):
    said = [{"role": "system", "content": "be brief"}]
    talk.infer(
        "pharma-assistant", tensor("messages", [json.dumps(said)]), tensor("prompt", ["hello"])
    )
    asked = talk.trunk.calls[-1].params["messages"]
    assert [each["role"] for each in asked] == ["system", "user"]


@pytest.mark.parametrize(
    ("model", "name", "elements", "words"),
    [
        ("pharma-assistant", "messages", ["{}"], "messages must be a JSON list"),
        ("pharma-assistant", "messages", ["["], "not JSON"),
        ("pharma-assistant", "prompt", ["a", "b"], "must have one element"),
        ("pharma-assistant", "prompt", [b"\xff"], "not UTF-8"),
        ("pharma-doc-qa", "prompt", ["a"], "'vector_store_ids' is missing"),
        ("pharma-embedding", "text", [" "], "an input is empty"),
    ],
)
def test_texts_that_are_none_are_refused(talk, model, name, elements, words):
    status, said = fault(lambda: talk.infer(model, tensor(name, elements)))
    assert (status, words in said) == ("400", True), said


@pytest.fixture
def real(listen, engines, objects):
    trunks = engines.trunks()
    lab = Lab(listen(lambda catalog: trunks, objects, deadline_s=240))
    yield lab
    lab.client.close()
    for trunk in trunks.values():
        trunk.close()


@pytest.mark.weights
def test_real_models_see_files_and_pixels_alike(real, samples):
    from io import BytesIO

    from PIL import Image

    files = tensor("image", [samples["tile-crack"]])
    pixels = np.asarray(Image.open(BytesIO(samples["tile-crack"])).convert("RGB"))[None]
    first = real.infer(MODEL, files)
    second = real.infer(MODEL, tensor("image", pixels, "UINT8"))
    assert first.as_numpy("verdict").tolist() == second.as_numpy("verdict").tolist() == [b"fail"]
    assert first.as_numpy("score") == pytest.approx(second.as_numpy("score"))
    board = tensor("image", [samples["board-open"]])
    template = tensor("template", [samples["board-template"]])
    found = real.infer("lighting-defect-detection", board, template)
    assert json.loads(found.as_numpy("result")[0])["defects"][0]["label"] == "open"


@pytest.mark.weights
def test_real_embeddings_are_those_of_the_native_route(real):
    texts = ["稳定性试验", "stability testing"]
    vectors = real.infer("pharma-embedding", tensor("text", texts)).as_numpy("embedding")
    body = {"model": "pharma-embedding", "input": texts}
    native = real.world.call("POST", "/v1/embeddings", "acme", json=body).json()["data"]
    np.testing.assert_array_equal(vectors, np.float32([each["embedding"] for each in native]))
    ours, theirs = real.bills()
    assert ours == theirs


@pytest.mark.weights
def test_a_real_question_is_answered_with_its_citations(real):
    text = "Tablets of aspirin are stored dry, below 25 degrees Celsius."
    file = real.world.call(
        "POST",
        "/v1/files",
        "acme",
        files={"file": ("sop.txt", text)},
        data={"purpose": "assistants"},
    ).json()["id"]
    body = {"file_ids": [file]}
    store = real.world.call("POST", "/v1/vector_stores", "acme", json=body).json()["id"]
    for _ in range(300):
        told = real.world.call("GET", f"/v1/vector_stores/{store}", "acme").json()
        if told["file_counts"]["completed"]:
            break
        time.sleep(0.1)
    question = tensor("prompt", ["Below which temperature is aspirin stored?"])
    result = real.infer("pharma-doc-qa", question, tensor("vector_store_ids", [store]))
    assert result.as_numpy("grounded").tolist() == [True]
    assert result.as_numpy("text").tolist()[0]
    cited = [json.loads(each)["file_citation"] for each in result.as_numpy("annotations")]
    assert cited
    assert all(text[each["start_index"] : each["end_index"]] == each["quote"] for each in cited)
