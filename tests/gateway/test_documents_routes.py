"""Files, vector stores, search and embeddings over HTTP; the real embedding trunk where marked."""

from __future__ import annotations

import base64
import struct
import time

import pytest

TEXT = (
    "阿司匹林片应密封保存。Store aspirin tablets below 25 °C.\n\nRecalls are filed in 24 hours.\n"
)


def upload(world, content=None, name="sop.txt", purpose="assistants", tenant="lab"):
    content = TEXT.encode() if content is None else content
    files = {"file": (name, content, "text/plain")}
    return world.call("POST", "/v1/files", tenant, files=files, data={"purpose": purpose})


def error(answer):
    return answer.status_code, answer.json()["error"]["param"]


def test_a_file_from_its_upload_to_its_end(world):
    made = upload(world).json()
    assert (made["object"], made["bytes"], made["purpose"]) == (
        "file",
        len(TEXT.encode()),
        "assistants",
    )
    path = f"/v1/files/{made['id']}"
    assert world.call("GET", path, "lab").json() == made
    content = world.call("GET", f"{path}/content", "lab")
    assert content.text == TEXT
    assert content.headers["content-disposition"] == "attachment"
    assert [f["id"] for f in world.call("GET", "/v1/files", "lab").json()["data"]] == [made["id"]]
    for method, place in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
        assert world.call(method, place, "rival").status_code == 404
    assert world.call("DELETE", path, "lab").json() == {
        "id": made["id"],
        "object": "file",
        "deleted": True,
    }
    assert world.call("GET", path, "lab").status_code == 404


def test_purposes(world):
    assert upload(world, purpose="fine-tune").status_code == 200
    unknown = upload(world, purpose="vision")
    assert error(unknown) == (400, "purpose")
    assert "vision" in unknown.json()["error"]["message"]
    files = {"file": ("a.txt", b"a")}
    assert error(world.call("POST", "/v1/files", "lab", files=files)) == (400, "purpose")
    data = {"purpose": "assistants"}
    assert error(world.call("POST", "/v1/files", "lab", data=data)) == (400, "file")
    assert error(upload(world, name="..")) == (400, "filename")
    listed = world.call("GET", "/v1/files?purpose=assistants", "lab").json()
    assert listed["data"] == []


@pytest.mark.parametrize(
    ("query", "param"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("purpose=x", "purpose")],
)
def test_list_queries_at_fault(world, query, param):
    assert error(world.call("GET", f"/v1/files?{query}", "lab")) == (400, param)


def test_pages(world):
    made = [upload(world, name=f"{n}.txt").json()["id"] for n in range(3)]
    first = world.call("GET", "/v1/files?limit=2&order=asc", "lab").json()
    assert first["has_more"]
    rest = world.call("GET", f"/v1/files?order=asc&after={first['last_id']}", "lab").json()
    assert [f["id"] for f in first["data"] + rest["data"]] == made
    assert not rest["has_more"]


def test_stores_are_their_tenants_alone(world):
    made = world.call("POST", "/v1/vector_stores", "lab", json={"name": "SOPs"}).json()
    path = f"/v1/vector_stores/{made['id']}"
    assert world.call("GET", path, "lab").json()["name"] == "SOPs"
    renamed = world.call("POST", path, "lab", json={"name": "x", "metadata": {"a": "b"}}).json()
    assert (renamed["name"], renamed["metadata"]) == ("x", {"a": "b"})
    for method in ("GET", "DELETE"):
        assert world.call(method, path, "rival").status_code == 404
    assert world.call("POST", f"{path}/search", "rival", json={"query": "x"}).status_code == 404
    bad = world.call("POST", "/v1/vector_stores", "lab", json={"expires_after": {"days": 0}})
    assert error(bad) == (400, "expires_after.days")
    gone = world.call("POST", "/v1/vector_stores", "lab", json={"file_ids": ["file-none"]})
    assert gone.status_code == 404
    training = upload(world, purpose="fine-tune").json()["id"]
    wrong = world.call("POST", f"{path}/files", "lab", json={"file_id": training})
    assert wrong.status_code == 400
    assert world.call("DELETE", path, "lab").json()["deleted"]
    assert world.call("GET", path, "lab").status_code == 404


def test_an_empty_store_answers_free(world):
    made = world.call("POST", "/v1/vector_stores", "lab", json={}).json()
    path = f"/v1/vector_stores/{made['id']}/search"
    answer = world.call("POST", path, "lab", json={"query": "x"})
    assert answer.json()["data"] == []
    assert answer.headers["x-xingyue-cost-micros"] == "0"
    for body, param in (
        ({"query": " "}, "query"),
        ({"query": "x" * 10_000}, "query"),
        ({"query": "x", "max_num_results": 0}, "max_num_results"),
        ({}, "query"),
    ):
        assert error(world.call("POST", path, "lab", json=body)) == (400, param)
    long = world.call("POST", path, "lab", json={"query": "x" * 10_000}).json()
    assert long["error"]["code"] == "question_too_long"


@pytest.fixture
def store(shop):
    file_id = upload(shop).json()["id"]
    made = shop.call("POST", "/v1/vector_stores", "lab", json={"file_ids": [file_id]}).json()
    path = f"/v1/vector_stores/{made['id']}"
    for _ in range(300):
        counts = shop.call("GET", path, "lab").json()["file_counts"]
        if counts["in_progress"] == 0:
            break
        time.sleep(0.1)
    assert counts["completed"] == 1
    return path


@pytest.mark.weights
def test_search_is_metered_as_a_call_and_replayed(shop, store):
    body = {"query": "How are aspirin tablets stored?", "max_num_results": 3}
    headers = {"idempotency-key": "s1"}
    answer = shop.call("POST", f"{store}/search", "lab", json=body, headers=headers)
    best = answer.json()["data"][0]
    assert "aspirin" in best["content"][0]["text"]
    assert best["filename"] == "sop.txt"
    assert answer.headers["x-xingyue-model"] == "pharma-embedding@1"
    assert int(answer.headers["x-xingyue-cost-micros"]) > 0
    assert float(answer.headers["x-xingyue-overhead-ms"]) >= 0
    again = shop.call("POST", f"{store}/search", "lab", json=body, headers=headers)
    assert again.headers["x-xingyue-replayed"] == "true"
    assert again.content == answer.content
    bills = shop.call("GET", "/v1/usage/events", "lab").json()
    assert [bill["data"]["cost_micros"] for bill in bills] == [
        int(answer.headers["x-xingyue-cost-micros"])
    ]


@pytest.mark.weights
def test_a_question_is_answered_from_the_documents(shop, store):
    body = {
        "model": "pharma-doc-qa",
        "vector_store_ids": [store.rpartition("/")[2]],
        "messages": [{"role": "user", "content": "Below which temperature is aspirin stored?"}],
    }
    answer = shop.call("POST", "/v1/chat/completions", "lab", json=body)
    assert answer.status_code == 200, answer.text
    message = answer.json()["choices"][0]["message"]
    assert message["grounded"], message
    for note in message["annotations"]:
        cited = note["file_citation"]
        assert TEXT[cited["start_index"] : cited["end_index"]] == cited["quote"]


@pytest.mark.weights
def test_a_file_that_is_no_text_fails_by_name_and_costs_nothing(shop):
    file_id = upload(shop, content=b"\xff\xfe\x00\x81\x8d" * 50, name="x.txt").json()["id"]
    made = shop.call("POST", "/v1/vector_stores", "lab", json={"file_ids": [file_id]}).json()
    for _ in range(300):
        path = f"/v1/vector_stores/{made['id']}/files/{file_id}"
        state = shop.call("GET", path, "lab").json()
        if state["status"] != "in_progress":
            break
        time.sleep(0.1)
    assert state["status"] == "failed"
    assert state["last_error"]["message"]
    assert shop.call("GET", "/v1/usage/events", "lab").json() == []


def embed(world, **body):
    return world.call("POST", "/v1/embeddings", "lab", json={"model": "pharma-embedding"} | body)


@pytest.mark.weights
def test_vectors_have_unit_length_in_both_encodings(shop):
    answer = embed(shop, input=["阿司匹林", "aspirin"])
    data = answer.json()["data"]
    assert [item["index"] for item in data] == [0, 1]
    assert sum(x * x for x in data[0]["embedding"]) == pytest.approx(1, abs=1e-3)
    assert int(answer.headers["x-xingyue-cost-micros"]) >= 0
    packed = embed(shop, input="aspirin", encoding_format="base64").json()["data"][0]
    raw = base64.b64decode(packed["embedding"])
    assert struct.unpack("<512f", raw) == pytest.approx(data[1]["embedding"], abs=1e-5)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": [1, 2]}, "input"),
        ({"input": ["a", " "]}, "input.1"),
        ({"input": "x" * 8001}, "input.0"),
        ({"input": ["a"] * 257}, "input"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "model": "appliance-surface-qc"}, "model"),
        ({"input": "a", "model": ""}, "model"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_embedding_fields_at_fault(world, body, param):
    assert error(embed(world, **body)) == (400, param)
    assert world.trunk.calls == 0
