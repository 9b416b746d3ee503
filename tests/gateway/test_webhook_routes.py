"""Webhooks over HTTP: made, shown, moved, deleted; events arrive from the gateway itself."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

MODEL = "appliance-surface-qc"


@pytest.fixture
def receiver():
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append((dict(self.headers.items()), body))
            # The first attempt fails.
            self.send_response(500 if len(got) == 1 else 204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook", got
    server.shutdown()
    thread.join()
    server.server_close()


def call(world, method, path="", body=None, tenant="a"):
    options = {} if body is None else {"json": body}
    return world.call(method, f"/v1/webhooks{path}", tenant, **options)


def test_events_arrive_signed_after_a_failure(world, receiver):
    url, got = receiver
    made = call(world, "POST", body={"url": url})
    assert made.status_code == 201
    secret = made.json()["secret"]
    for _ in range(3):
        assert world.inspect(MODEL, "a").status_code == 200
    until = time.monotonic() + 30
    while call(world, "GET", f"/{made.json()['id']}").json()["delivered"] < 3:
        assert time.monotonic() < until, got
        time.sleep(0.1)
    events = {}
    for headers, body in got:
        headers = {name.lower(): value for name, value in headers.items()}
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
        mac = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{mac}"
        events |= {event["id"]: event for event in json.loads(body)}
    pulled = world.call("GET", "/v1/usage/events", "a").json()
    assert sorted(events) == sorted(event["id"] for event in pulled)
    assert list(events.values()) == pulled
    shown = call(world, "GET", f"/{made.json()['id']}").json()
    assert (shown["state"], shown["failures"], shown["reason"]) == ("active", 0, None)


def test_made_listed_redelivered_deleted(world, receiver):
    url, _ = receiver
    made = call(world, "POST", body={"url": url}).json()
    assert made["secret"].startswith("whsec_")
    listed = call(world, "GET")
    assert [each["id"] for each in listed.json()["data"]] == [made["id"]]
    assert "secret" not in listed.text
    for method, path, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("POST", "/redeliver", {"cursor": 0}),
    ):
        other = call(world, method, f"/{made['id']}{path}", body, tenant="b")
        assert (other.status_code, other.json()["error"]["code"]) == (404, "webhook_not_found")
    assert call(world, "POST", f"/{made['id']}/redeliver", {"cursor": 0}).json()["cursor"] == 0
    assert call(world, "POST", f"/{made['id']}/redeliver", {}).status_code == 200
    assert call(world, "DELETE", f"/{made['id']}").status_code == 204
    assert call(world, "GET", f"/{made['id']}").status_code == 404


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "url"),
        ({"url": "ftp://a/"}, "url"),
        ({"url": "http://169.254.169.254/latest/meta-data"}, "url"),
        ({"url": "http://[::ffff:169.254.169.254]/"}, "url"),
        ({"url": "http://0.0.0.0/"}, "url"),
        ({"url": "http://user:pass@127.0.0.1/"}, "url"),
        ({"url": "http://no-such-host.invalid/"}, "url"),
        ({"url": "http://127.0.0.1/", "cursor": 10**6}, "cursor"),
        ({"url": "http://127.0.0.1/", "cursor": -1}, "cursor"),
        ({"url": "http://127.0.0.1/", "colour": 1}, "colour"),
    ],
    ids=str,
)
def test_what_a_webhook_can_not_be(world, body, param):
    answer = call(world, "POST", body=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param), answer.text
    assert call(world, "GET").json()["data"] == []


def test_loopback_only_while_the_gateway_binds_loopback(open_world):
    world = open_world(host="0.0.0.0")
    answer = call(world, "POST", body={"url": "http://127.0.0.1:9/"})
    assert answer.json()["error"]["code"] == "webhook_address"
    assert call(world, "POST", body={"url": "http://10.0.0.9:9/"}).status_code == 201


def test_private_networks_refused_by_setting(open_world):
    world = open_world(webhook_private=False)
    for url in ("http://10.0.0.9/", "http://127.0.0.1/", "http://[fd12::1]/"):
        answer = call(world, "POST", body={"url": url})
        assert answer.json()["error"]["code"] == "webhook_address"
