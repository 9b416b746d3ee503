"""Traces of calls: a whole tree for each, the caller's own id kept, nothing while off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from xingyue import tracing
from xingyue.contract import WorkItem
from xingyue.tracing import TraceTarget
from xingyue.tracing_sdk import Tracing

MODEL = "appliance-surface-qc"
TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    traced = Tracing("test", [kept], 1.0)
    monkeypatch.setattr(tracing, "active", traced)
    yield kept
    traced.close()


def _finished(spans):
    tracing.active.flush()
    found = spans.get_finished_spans()
    spans.clear()
    return found


@pytest.mark.weights
def test_a_call_is_one_tree_under_the_callers_own_span(shop, samples, spans):
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    answer = shop.inspect(MODEL, "a", headers=headers, image="")
    assert answer.status_code == 400
    _finished(spans)
    answer = shop.call(
        "POST",
        f"/v1/inspect/{MODEL}",
        "a",
        content=samples["tile-good"],
        headers={"content-type": "image/png", **headers},
    )
    assert answer.status_code == 200
    by_name = {span.name: span for span in _finished(spans)}
    assert set(by_name) == {"request", "admit", "queue", "infer", "compute", "post"}
    assert {f"{span.context.trace_id:032x}" for span in by_name.values()} == {TRACE}
    request = by_name["request"]
    assert f"{request.parent.span_id:016x}" == CALLER
    for name in ("admit", "queue", "infer", "post"):
        assert by_name[name].parent.span_id == request.context.span_id
    assert by_name["compute"].parent.span_id == by_name["infer"].context.span_id
    assert by_name["infer"].start_time <= by_name["compute"].start_time
    assert by_name["compute"].end_time <= by_name["infer"].end_time
    assert request.attributes["http.route"] == "/v1/inspect/{model}"
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["xingyue.request_id"] == answer.headers["x-request-id"]
    assert request.attributes["xingyue.model"] == f"{MODEL}@1"
    assert by_name["infer"].attributes["xingyue.batch_size"] == 1


def test_an_unsampled_callers_trace_stays_unsampled(world, spans):
    world.call("GET", "/v1/account", "a", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
    assert not _finished(spans)


def test_health_and_metrics_leave_no_spans_and_a_bad_traceparent_begins_a_trace(world, spans):
    for path in ("/healthz", "/readyz", "/metrics"):
        world.client.get(path)
    assert not _finished(spans)
    world.call("GET", "/v1/account", "a", headers={"traceparent": "00-nonsense"})
    (span,) = _finished(spans)
    assert span.parent is None


def test_an_items_own_fault_marks_its_spans(spans):
    item = WorkItem("inspect", None, trace=f"00-{TRACE}-{CALLER}-01")
    untraced = WorkItem("inspect", None)
    tracing.computed([item, untraced], [ValueError("no image"), None], 1)
    (span,) = _finished(spans)
    assert span.name == "compute"
    assert not span.status.is_ok
    assert span.attributes["error.type"] == "ValueError"


def test_off_is_nothing_at_all(world):
    assert tracing.active is None
    tracing.start("test", TraceTarget())
    assert tracing.active is None
    assert tracing.span("a") is tracing.span("b")
    assert world.call("GET", "/v1/account", "a").status_code == 200


@pytest.fixture
def collector():
    """An OTLP/HTTP collector on loopback: what it was sent, and its URL."""
    got: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            assert self.headers["content-type"] == "application/x-protobuf"
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield got, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_spans_reach_a_collector(open_world, collector):
    got, url = collector
    world = open_world(otel_endpoint=url)
    assert world.inspect(MODEL, "a").status_code == 200
    assert tracing.active is not None
    tracing.active.flush()
    tracing.stop()
    sent = [
        span.name
        for each in got
        for resource in each.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {"request", "admit", "post"} <= set(sent)
    names = {a.key: a.value.string_value for a in got[0].resource_spans[0].resource.attributes}
    assert names["service.name"] == "gateway"


def test_a_collector_that_is_away_costs_spans_and_no_call(open_world):
    world = open_world(otel_endpoint="http://127.0.0.1:9")
    assert world.inspect(MODEL, "a").status_code == 200
    tracing.active.flush()
    assert world.inspect(MODEL, "a").status_code == 200
    tracing.stop()


def test_the_console_gets_one_line_a_span(open_world, capfd):
    world = open_world(otel_console=True)
    assert world.inspect(MODEL, "a").status_code == 200
    tracing.stop()
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("{")]
    assert any('"name": "request"' in line for line in lines)
