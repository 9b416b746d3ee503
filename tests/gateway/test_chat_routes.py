"""``/v1/chat/completions``: plain, streamed, failing, cut off, repeated; what is billed."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from xingyue.errors import Internal, ReplicaLost
from xingyue.serving.fakes import ScriptedTrunk

MODEL = "pharma-assistant"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def talk(open_world):
    trunk = ScriptedTrunk()
    world = open_world(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
    world.trunk = trunk
    return world


def chat(talk, key=None, **body):
    headers = {} if key is None else {"idempotency-key": key}
    return talk.call("POST", "/v1/chat/completions", "lab", json=ASK | body, headers=headers)


def events(answer):
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


def bills(talk):
    return [event["data"] for event in talk.call("GET", "/v1/usage/events", "lab").json()]


def available(talk):
    return talk.call("GET", "/v1/account", "lab").json()["balance"]["available_micros"]


def test_a_whole_answer(talk):
    answer = chat(talk)
    body = answer.json()
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "one two three"}
    assert body["usage"] == {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    # 8 tokens at 4,000 micros a thousand.
    assert answer.headers["x-xingyue-cost-micros"] == "32"
    assert [bill["cost_micros"] for bill in bills(talk)] == [32]


def test_a_stream_is_headers_words_usage_done(talk):
    answer = chat(talk, stream=True, stream_options={"include_usage": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["x-xingyue-model"] == f"{MODEL}@1"
    assert float(answer.headers["x-xingyue-overhead-ms"]) >= 0
    assert answer.headers["x-ratelimit-limit-requests"] == "6000"
    most = int(answer.headers["x-xingyue-cost-micros"])
    *chunks, usage, done = events(answer)
    assert done == "[DONE]"
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == "one two three"
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 8
    assert usage["usage"]["cost_micros"] == 32 <= most
    assert [bill["cost_micros"] for bill in bills(talk)] == [32]


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_key_gets_the_first_answer_free(talk, stream):
    first = chat(talk, key="k", stream=stream)
    again = chat(talk, key="k", stream=stream)
    assert again.content == first.content
    assert again.headers["x-xingyue-replayed"] == "true"
    assert again.headers["x-xingyue-cost-micros"] == "32"
    assert chat(talk, key="k", stream=stream, seed=2).status_code == 409
    assert len(bills(talk)) == len(talk.trunk.calls) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_fault_before_the_first_word_is_a_status_and_free(talk, stream):
    talk.trunk.fault = ReplicaLost("died")
    answer = chat(talk, key="k", stream=stream)
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "replica_lost"
    assert bills(talk) == []
    talk.trunk.fault = None
    assert chat(talk, key="k", stream=stream).status_code == 200


def test_a_fault_amid_the_words_ends_the_stream_with_the_envelope_and_is_free(talk):
    before = available(talk)
    talk.trunk.fault, talk.trunk.fault_after = Internal("broken"), 2
    last = events(chat(talk, stream=True))[-1]
    assert last["error"]["message"] == "broken"
    assert bills(talk) == []
    assert available(talk) == before
    assert talk.trunk.closed == 1


async def listen_to(app, key, frames_max):
    """Call as a client that hangs up after some frames; the server cancels the task then."""
    body = json.dumps(ASK | {"stream": True}).encode()
    gone, sent = asyncio.Event(), []
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if messages:
            return messages.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)
        if len(sent) > frames_max:
            gone.set()

    headers = [(b"authorization", f"Bearer {key}".encode()), (b"idempotency-key", b"cut")]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": "POST",
        "scheme": "http",
        "path": "/v1/chat/completions",
        "raw_path": b"/v1/chat/completions",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "state": {},
    }
    await app(scope, receive, send)
    return sent


def test_a_caller_that_hangs_up_pays_for_what_was_said_and_no_more(talk):
    talk.trunk.words = [f"{n} " for n in range(200)]
    talk.trunk.pause_s = 0.01
    talk.client.portal.call(listen_to, talk.client.app, talk.key("lab"), 6)
    for _ in range(100):
        if billed := bills(talk):
            break
        time.sleep(0.05)
    # 5 of the prompt and a few words; not the 200 that it would have come to.
    assert 6 <= billed[0]["units"] < 60
    assert len(billed) == talk.trunk.closed == 1
    # Nothing whole was kept to replay; the key is spent all the same.
    again = talk.call(
        "POST",
        "/v1/chat/completions",
        "lab",
        content=json.dumps(ASK | {"stream": True}),
        headers={"idempotency-key": "cut"},
    )
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "idempotency_response_unavailable"


def test_streams_hold_a_place_until_their_bill(talk):
    talk.key("lab")
    talk.services.tenants.update_tenant("lab", concurrency_max=1)
    talk.services.directory.forget()
    for _ in range(3):
        assert chat(talk, stream=True).status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 3}, "model"),
        ({"model": "appliance-surface-qc"}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "x", "content": "y"}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages.0.content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages.0.content",
        ),
        ({"temperature": 3}, "temperature"),
        ({"top_p": -1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_completion_tokens": 10**9}, "max_completion_tokens"),
        ({"seed": "x"}, "seed"),
        ({"stop": [1]}, "stop"),
        ({"n": 2}, "n"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": []}, None),
        ({"stream_options": 1}, "stream_options"),
        ({"tools": [{}]}, "tools"),
    ],
    ids=repr,
)
def test_a_field_at_fault_is_named(talk, body, param):
    answer = chat(talk, **body)
    if param is None:
        assert answer.status_code == 200
    else:
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
        assert bills(talk) == []


def test_document_qa_needs_its_stores_and_a_short_question(talk):
    asked = {"model": "pharma-doc-qa"}
    assert chat(talk, **asked).json()["error"]["param"] == "vector_store_ids"
    unknown = chat(talk, **asked, vector_store_ids=["vs_none"])
    assert unknown.status_code == 404
    long = [{"role": "user", "content": "x" * 10_000}]
    refused = chat(talk, **asked, vector_store_ids=["vs_none"], messages=long)
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "question_too_long"
    assert bills(talk) == []


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b'"x"', b"\xff\xfe", b"[" * 100_000, b'{"model":"\\ud800"}']
)
def test_what_is_no_json_object_is_400(talk, raw):
    answer = talk.call("POST", "/v1/chat/completions", "lab", content=raw)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "body")


@pytest.mark.weights
def test_the_real_assistant_speaks(shop):
    body = {"model": MODEL, "messages": ASK["messages"], "max_tokens": 4, "temperature": 0}
    whole = shop.call("POST", "/v1/chat/completions", "lab", json=body)
    assert whole.status_code == 200, whole.text
    streamed = shop.call("POST", "/v1/chat/completions", "lab", json=body | {"stream": True})
    text = "".join(
        chunk["choices"][0]["delta"].get("content", "") for chunk in events(streamed)[:-1]
    )
    assert text == whole.json()["choices"][0]["message"]["content"] != ""
