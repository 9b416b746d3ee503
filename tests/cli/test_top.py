"""``xingyue top`` on recorded pages of ``/metrics``, and on a server that shows them."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from typer.testing import CliRunner

from xingyue.cli.main import app
from xingyue.cli.scrape import Between, parse, process_of, quantile, rates
from xingyue.cli.top import view
from xingyue.errors import InvalidRequest

MODEL = "appliance-surface-qc"


def page(started: float, calls: int, *, slow: int = 0, waiting: int = 0) -> str:
    """A gateway's page after so many calls, each of 5 ms, ``slow`` more of 40 ms; in batches of
    two."""
    fine, whole = calls - slow, calls
    return f"""\
# TYPE process_start_time_seconds gauge
process_start_time_seconds {started}
# TYPE xingyue_requests_total counter
xingyue_requests_total{{method="POST",route="/v1/inspect/{{model}}",status="200"}} {calls}
xingyue_requests_total{{method="GET",route="/metrics",status="200"}} {calls // 10}
# TYPE xingyue_request_seconds histogram
xingyue_request_seconds_bucket{{le="0.004",route="/v1/inspect/{{model}}"}} 0
xingyue_request_seconds_bucket{{le="0.008",route="/v1/inspect/{{model}}"}} {fine}
xingyue_request_seconds_bucket{{le="0.06",route="/v1/inspect/{{model}}"}} {whole}
xingyue_request_seconds_bucket{{le="+Inf",route="/v1/inspect/{{model}}"}} {whole}
xingyue_request_seconds_count{{route="/v1/inspect/{{model}}"}} {whole}
xingyue_request_seconds_sum{{route="/v1/inspect/{{model}}"}} {whole * 0.005}
# TYPE xingyue_refusals_total counter
xingyue_refusals_total{{code="overloaded"}} {slow}
# TYPE xingyue_units_total counter
xingyue_units_total{{model="{MODEL}",unit="image"}} {calls}
# TYPE xingyue_cost_micros_total counter
xingyue_cost_micros_total{{model="{MODEL}"}} {calls * 1200}
# TYPE xingyue_batch_size histogram
xingyue_batch_size_bucket{{le="2",trunk="efficientnet-lite0"}} {calls // 2}
xingyue_batch_size_bucket{{le="+Inf",trunk="efficientnet-lite0"}} {calls // 2}
xingyue_batch_size_count{{trunk="efficientnet-lite0"}} {calls // 2}
xingyue_batch_size_sum{{trunk="efficientnet-lite0"}} {calls}
# TYPE xingyue_waiting_calls gauge
xingyue_waiting_calls{{trunk="efficientnet-lite0"}} {waiting}
# TYPE xingyue_meter_leases_total counter
xingyue_meter_leases_total{{outcome="granted"}} 3
# TYPE nv_inference_request_success counter
nv_inference_request_success{{model="{MODEL}",version="1"}} {calls}
# TYPE nv_inference_request_duration_us counter
nv_inference_request_duration_us{{model="{MODEL}",version="1"}} {calls * 4500}
# TYPE nv_inference_pending_request_count gauge
nv_inference_pending_request_count{{model="{MODEL}",version="1"}} 2
"""


def test_rates_are_what_grew_between_two_looks():
    before, after = parse(page(1.5, 100)), parse(page(1.5, 300, slow=10, waiting=7))
    found = rates(Between({1.5: before}, {1.5: after}, 2.0))
    assert (found.gateways, found.calls_per_s, found.requests_per_s) == (1, 100, 110)
    assert found.refused_per_s == {"overloaded": 5}
    # 190 of 200 within (4, 8] ms, 10 within (8, 60] ms, linear inside a bucket.
    assert found.p50_ms == pytest.approx(4 + 4 * 100 / 190, abs=0.01)
    assert found.p99_ms == pytest.approx(8 + 52 * 8 / 10, abs=0.01)
    (model,) = found.models
    assert (model.model, model.per_s, model.units_per_s, model.units) == (MODEL, 100, 100, 300)
    assert (model.revenue_micros_per_s, model.revenue_micros) == (120_000, 360_000)
    assert (model.mean_ms, model.pending, model.queue_ms) == (4.5, 2, 0)
    (trunk,) = found.trunks
    assert (trunk.batches_per_s, trunk.batch_size, trunk.waiting) == (50, 2, 7)
    assert found.leases == {"granted": 3}


def test_gateways_are_told_apart_and_summed():
    """Behind one port any of them answers: numbers of two must never be subtracted."""
    first, second = parse(page(1.5, 100)), parse(page(2.5, 1_000))
    assert (process_of(first), process_of(second)) == (1.5, 2.5)
    later = {1.5: parse(page(1.5, 200)), 2.5: parse(page(2.5, 1_100))}
    found = rates(Between({1.5: first, 2.5: second}, later, 1.0))
    assert (found.gateways, found.calls_per_s) == (2, 200)
    # One that has started anew counts from its beginning.
    found = rates(Between({1.5: first}, {9.0: parse(page(9.0, 40))}, 1.0))
    assert found.calls_per_s == 40


def test_silence_has_no_latency():
    same = parse(page(1.5, 100))
    found = rates(Between({1.5: same}, {1.5: same}, 2.0))
    assert (found.calls_per_s, found.p50_ms, found.p99_ms) == (0, None, None)
    assert found.models[0].mean_ms is None
    assert view("http://x", found, ["pharma-doc-qa"]) is not None


@pytest.mark.parametrize(
    ("q", "buckets", "value"),
    [
        (0.5, [], None),
        (0.5, [(1.0, 0.0), (float("inf"), 0.0)], None),
        (0.5, [(1.0, 10.0), (float("inf"), 10.0)], 0.5),
        (1.0, [(1.0, 10.0), (2.0, 20.0), (float("inf"), 20.0)], 2.0),
        (0.99, [(1.0, 0.0), (float("inf"), 5.0)], 1.0),
    ],
    ids=["no histogram", "nothing seen", "inside", "highest", "above all bounds"],
)
def test_quantile(q, buckets, value):
    assert quantile(q, buckets) == value


def test_a_page_of_something_else_is_refused():
    with pytest.raises(InvalidRequest, match="no page of Prometheus metrics"):
        parse("<html>not ours</html>")


@pytest.fixture
def server():
    """Shows one page after another, the last one on and on."""
    pages = [page(1.5, 100), page(1.5, 300)]

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/readyz":
                status, body = 503, b'{"ready": false, "missing": ["pharma-doc-qa"]}'
            else:
                status, body = 200, (pages.pop(0) if len(pages) > 1 else pages[0]).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    found = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{found.server_port}"
    found.shutdown()
    found.server_close()


def test_once_as_json_and_as_a_screen(server):
    told = CliRunner().invoke(
        app, ["top", "--once", "--json", "--interval", "0.2", "--url", server]
    )
    assert told.exit_code == 0, told.output
    document = json.loads(told.stdout)
    assert document["ready"] is False
    assert document["missing"] == ["pharma-doc-qa"]
    assert document["models"][0]["units"] == 300
    assert document["calls_per_s"] > 0
    shown = CliRunner().invoke(app, ["top", "--once", "--interval", "0.2", "--url", server])
    assert shown.exit_code == 0, shown.output
    assert "waits for pharma-doc-qa" in shown.stdout
    assert "efficientnet-lite0" in shown.stdout


def test_nobody_there_is_said():
    told = CliRunner().invoke(app, ["top", "--once", "--url", "http://127.0.0.1:9"])
    assert told.exit_code == 1
    assert "is the platform up?" in str(told.exception)
