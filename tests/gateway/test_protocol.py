"""What every route shares: ids, methods, limits, keys, and how refusals look."""

from __future__ import annotations

import asyncio
import re

import pytest

from xingyue.errors import Overloaded
from xingyue.gateway.context import RequestContext
from xingyue.serving.fakes import ScriptedTrunk
from xingyue.tenants.tenant import Scope

INSPECT = "/v1/inspect/appliance-surface-qc"


def error(answer):
    return answer.json()["error"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("line-7.A_1", True), ("", False), ("a b", False), ("x" * 65, False), ("a\tb", False)],
)
def test_a_callers_request_id_is_kept_if_it_is_one(world, sent, kept):
    given = world.client.get("/healthz", headers={"x-request-id": sent}).headers["x-request-id"]
    assert given == sent if kept else re.fullmatch(r"req_[0-9a-f]{34}", given)


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/admin/v1/x", "/docs/x", "/%00"])
def test_an_unknown_route_is_404_in_the_envelope(world, path):
    answer = world.client.get(path)
    assert (answer.status_code, error(answer)["code"]) == (404, "unknown_route")
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/v1/files", "GET, HEAD, OPTIONS, POST"),
        ("GET", INSPECT, "OPTIONS, POST"),
        ("POST", "/healthz", "GET, HEAD, OPTIONS"),
        ("PUT", "/v1/vector_stores/vs_1", "DELETE, GET, HEAD, OPTIONS, POST"),
        ("HEAD", "/v1/embeddings", "OPTIONS, POST"),
    ],
)
def test_a_wrong_method_is_405_with_all_that_are_allowed(world, method, path, allow):
    answer = world.client.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allow)
    if method != "HEAD":
        assert error(answer)["code"] == "method_not_allowed"
        assert f"{path} does not take {method}; it takes {allow}" == error(answer)["message"]


def test_head_is_get_without_the_body_and_options_tell_the_methods(world):
    got, head = world.client.get("/healthz"), world.client.head("/healthz")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))
    options = world.client.options("/v1/files/file-1")
    assert (options.status_code, options.headers["allow"]) == (204, "DELETE, GET, HEAD, OPTIONS")


ROUTES = [
    ("POST", INSPECT, {"content-type": "image/png"}),
    ("POST", "/v1/chat/completions", {"content-type": "application/json"}),
    ("POST", "/v1/files", {"content-type": "multipart/form-data; boundary=x"}),
    ("POST", "/v1/vector_stores", {"content-type": "application/json"}),
]


@pytest.mark.parametrize(("method", "path", "kind"), ROUTES, ids=lambda value: str(value))
def test_a_body_over_the_limit_is_refused_before_it_is_read(open_world, method, path, kind):
    world = open_world(body_max_bytes=100_000)
    told = world.call(method, path, "a", content=b"x" * 100_001, headers=kind)
    assert (told.status_code, error(told)["param"]) == (413, "body")
    assert "100000 bytes" in error(told)["message"]

    def chunks():
        yield b"--x\r\ncontent-disposition: form-data; name=file; filename=f\r\n\r\n"
        yield from [b"x" * 1000] * 101

    chunked = world.call(method, path, "a", content=chunks(), headers=kind)
    assert (chunked.status_code, error(chunked)["param"]) == (413, "body")


def test_a_body_without_end_is_read_to_the_limit_and_no_further():
    read, sent = [], []

    async def receive():
        read.append(1)
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    async def send(message):
        sent.append(message)

    async def app(scope, receive, send):
        while (await receive())["more_body"]:
            pass

    scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
    asyncio.run(RequestContext(app, body_max_bytes=10_000)(scope, receive, send))
    assert len(read) == 11
    assert sent[0]["status"] == 413


def test_keys(world):
    def answer(authorization):
        headers = {} if authorization is None else {"authorization": authorization}
        return world.client.get("/v1/account", headers=headers)

    secret = world.key("a")
    assert answer(f"Bearer {secret}").status_code == answer(f"bearer  {secret} ").status_code == 200
    for wrong in (None, "", "Bearer", f"Basic {secret}", secret, "Bearer xy-none", b"Bearer \xfc"):
        refused = answer(wrong)
        assert (refused.status_code, error(refused)["code"]) == (401, "invalid_api_key")
        assert refused.headers["www-authenticate"] == "Bearer"
    key, other = world.services.tenants.issue_key("a", name="x", scopes=["call"])
    assert answer(f"Bearer {other}").status_code == 200
    world.services.tenants.revoke_key(key.id, tenant_id="a")
    world.services.directory.forget()
    assert "revoked" in error(answer(f"Bearer {other}"))["message"]


def test_scopes_models_and_suspension(world):
    world.key("a")
    _, tune = world.services.tenants.issue_key("a", name="t", scopes=[Scope.TUNE])
    refused = world.call("GET", "/v1/account", "a", key=tune)
    assert (refused.status_code, error(refused)["code"]) == (403, "insufficient_scope")
    _, narrow = world.services.tenants.issue_key(
        "a", name="n", scopes=["call"], models=["pharma-embedding"]
    )
    barred = world.inspect("appliance-surface-qc", "a", key=narrow)
    assert (barred.status_code, error(barred)["code"]) == (403, "model_not_allowed")
    world.services.tenants.update_tenant("a", status="suspended")
    world.services.directory.forget()
    stopped = world.call("GET", "/v1/account", "a")
    assert (stopped.status_code, error(stopped)["code"]) == (403, "tenant_suspended")


def test_a_licence_that_forbids_commercial_use(open_world):
    world = open_world(commercial_only=True)
    barred = world.inspect("appliance-surface-qc", "a")
    assert (barred.status_code, error(barred)["code"]) == (403, "commercial_use_forbidden")
    world.services.tenants.update_tenant("a", allow_noncommercial=True)
    world.services.directory.forget()
    assert world.inspect("appliance-surface-qc", "a").status_code == 200


def test_too_many_requests_come_back_with_when(world):
    world.key("a")
    world.services.tenants.update_tenant("a", rate_limit_requests=2)
    answers = [world.call("GET", "/v1/account", "a") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [a.headers.get("x-ratelimit-remaining-requests") for a in answers[:2]] == ["1", "0"]
    assert error(answers[2])["code"] == "rate_limit_exceeded"
    assert answers[2].headers["x-ratelimit-remaining-requests"] == "0"
    assert answers[2].headers["x-ratelimit-limit-requests"] == "2"
    assert 1 <= int(answers[2].headers["retry-after"]) <= 30
    # Nothing of another tenant's.
    assert world.call("GET", "/v1/account", "b").status_code == 200


def test_an_empty_purse(world):
    world.services.tenants.ensure_tenant("poor", "poor")
    world.keys["poor"] = world.new_key("poor")
    refused = world.inspect("appliance-surface-qc", "poor")
    assert (refused.status_code, error(refused)["code"]) == (429, "insufficient_quota")
    assert int(refused.headers["retry-after"]) >= 1
    assert world.trunk.calls == 0


def test_overload_is_503_with_when_to_come_back(open_world):
    trunk = ScriptedTrunk()
    trunk.fault = Overloaded("full", retry_after_s=2.5)
    world = open_world(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
    refused = world.inspect("appliance-surface-qc", "a")
    assert (refused.status_code, error(refused)["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "3"


def test_a_busy_trunk_refuses_before_anything_is_set_aside(open_world):
    class Busy(ScriptedTrunk):
        def accept(self):
            raise Overloaded("9 calls are waiting", retry_after_s=2)

    trunk = Busy()
    world = open_world(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
    refused = world.inspect("appliance-surface-qc", "a")
    assert (refused.status_code, error(refused)["code"]) == (503, "overloaded")
    assert refused.headers["retry-after"] == "2"
    assert world.call("GET", "/v1/usage/events", "a").json() == []


def test_a_stored_answer_needs_no_room(open_world):
    class Filling(ScriptedTrunk):
        full = False

        def accept(self):
            if self.full:
                raise Overloaded("9 calls are waiting")

    trunk = Filling()
    world = open_world(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
    first = world.inspect("appliance-surface-qc", "a", headers={"idempotency-key": "k1"})
    trunk.full = True
    again = world.inspect("appliance-surface-qc", "a", headers={"idempotency-key": "k1"})
    assert (again.status_code, again.content) == (200, first.content)
    other = world.inspect("appliance-surface-qc", "a", headers={"idempotency-key": "k2"})
    assert other.status_code == 503
    trunk.full = False
    later = world.inspect("appliance-surface-qc", "a", headers={"idempotency-key": "k2"})
    assert later.status_code == 200
    assert len(world.call("GET", "/v1/usage/events", "a").json()) == 2


def test_a_fault_of_the_code_is_500_in_the_envelope_and_tells_nothing(open_world):
    class Broken(ScriptedTrunk):
        async def run(self, item, timeout_s):
            raise RuntimeError("secret words")

    trunk = Broken()
    world = open_world(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
    answer = world.inspect("appliance-surface-qc", "a")
    assert (answer.status_code, error(answer)["code"]) == (500, "internal_error")
    assert answer.headers["x-request-id"] in error(answer)["message"]
    assert "secret" not in answer.text
    assert world.call("GET", "/v1/usage/events", "a").json() == []


@pytest.mark.parametrize(
    ("body", "kind", "param"),
    [
        (b"{", "application/json", "body"),
        (b"x=1", "application/x-www-form-urlencoded", "body"),
        (b"{}", "application/json", "id"),
        (b'{"id":"a","name":"a","colour":"red"}', "application/json", "colour"),
        (b'{"id":"a","name":"a","concurrency_max":"x"}', "application/json", "concurrency_max"),
        (b'{"id":"A","name":"a"}', "application/json", "id"),
        (b"[" * 100_000, "application/json", "body"),
        (b"\xff", "application/json", "body"),
    ],
)
def test_a_typed_body_at_fault_is_400_and_names_the_field(world, body, kind, param):
    world.services.tenants.ensure_tenant("op", "op")
    _, key = world.services.tenants.issue_key("op", name="o", scopes=[Scope.ADMIN])
    answer = world.call(
        "POST", "/admin/v1/tenants", "op", key=key, content=body, headers={"content-type": kind}
    )
    assert (answer.status_code, error(answer)["param"]) == (400, param), answer.text
