"""What ``/metrics`` says after calls: Triton's names, ours, and nobody's name in a label."""

from __future__ import annotations

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from xingyue.serving.fakes import ScriptedTrunk

MODEL = "appliance-surface-qc"


def scrape(world):
    page = world.client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    counts = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
    }
    # As they stand on the page: the parser adds `_total` to the names of counters.
    for name, model, version, value in re.findall(
        r'^(nv_\w+){model="(.*?)",version="(.*?)"} (\d+)$', page.text, re.MULTILINE
    ):
        counts[name, (("model", model), ("version", version))] = int(value)
    return counts


def grown(before, after, name, **labels):
    key = (name, tuple(sorted(labels.items())))
    return after.get(key, 0) - before.get(key, 0)


def test_calls_are_counted_under_tritons_names(world):
    before = scrape(world)
    for image in (0.1, 0.9, "no number"):
        world.inspect(MODEL, "a", image)
    after = scrape(world)

    def more(name):
        return grown(before, after, f"nv_inference_{name}", model=MODEL, version="1")

    assert more("request_success") == 2
    assert more("request_failure") == 1
    assert more("count") == more("exec_count") == 2
    assert more("request_duration_us") > 0
    assert more("compute_infer_duration_us") == 2000
    assert more("pending_request_count") == 0
    assert ("nv_inference_queue_duration_us", (("model", MODEL), ("version", "1"))) in after


def test_money_refusals_and_routes(world):
    before = scrape(world)
    world.inspect(MODEL, "a")
    world.inspect("nothing", "a")
    world.client.get("/v1/none-of-ours")
    world.client.request("BREW", "/healthz")
    after = scrape(world)
    route = "/v1/inspect/{model}"
    for status in ("200", "404"):
        labels = {"route": route, "method": "POST", "status": status}
        assert grown(before, after, "xingyue_requests_total", **labels) == 1
    lost = {"route": "unmatched", "method": "GET", "status": "404"}
    assert grown(before, after, "xingyue_requests_total", **lost) == 1
    odd = {"route": "/healthz", "method": "other", "status": "405"}
    assert grown(before, after, "xingyue_requests_total", **odd) == 1
    assert grown(before, after, "xingyue_refusals_total", code="model_not_found") == 1
    assert grown(before, after, "xingyue_units_total", model=MODEL, unit="image") == 1
    assert grown(before, after, "xingyue_cost_micros_total", model=MODEL) == 1200
    assert grown(before, after, "xingyue_request_seconds_count", route=route) == 2
    assert grown(before, after, "xingyue_overhead_seconds_count") == 1
    assert grown(before, after, "xingyue_meter_commit_operations_count") >= 1
    assert grown(before, after, "xingyue_meter_commit_seconds_count") >= 1
    assert grown(before, after, "xingyue_meter_leases_total", outcome="granted") == 1


def test_a_stream_counts_once(open_world):
    trunk = ScriptedTrunk()
    world = open_world(lambda catalog: dict.fromkeys(catalog.trunks, trunk))
    before = scrape(world)
    body = {"model": "pharma-assistant", "messages": [{"role": "user", "content": "x"}]}
    world.call("POST", "/v1/chat/completions", "a", json=body | {"stream": True})
    after = scrape(world)
    labels = {"model": "pharma-assistant", "version": "1"}
    assert grown(before, after, "nv_inference_request_success", **labels) == 1
    assert grown(before, after, "nv_inference_pending_request_count", **labels) == 0
    assert grown(before, after, "xingyue_units_total", model="pharma-assistant", unit="token") == 8


def test_no_label_holds_a_tenant_and_variants_count_under_their_base(world):
    world.fit("secretco", "drum", shift=0.0)
    before = scrape(world)
    assert world.inspect("secretco.drum", "secretco").status_code == 200
    after = scrape(world)
    labels = {"model": MODEL, "version": "1"}
    assert grown(before, after, "nv_inference_count", **labels) == 1
    assert "secretco" not in world.client.get("/metrics").text


@pytest.mark.weights
def test_batches_and_queues_of_a_trunk(shop, samples):
    before = scrape(shop)
    files = [("image", (f"{n}.png", samples["tile-good"], "image/png")) for n in range(4)]
    assert shop.call("POST", f"/v1/inspect/{MODEL}", "a", files=files).status_code == 200
    after = scrape(shop)
    trunk = "efficientnet-lite0"
    assert grown(before, after, "xingyue_batch_size_sum", trunk=trunk) == 4
    batches = grown(before, after, "xingyue_batch_size_count", trunk=trunk)
    assert batches < 4
    labels = {"model": MODEL, "version": "1"}
    assert grown(before, after, "nv_inference_exec_count", **labels) == batches
    assert grown(before, after, "nv_inference_queue_duration_us", **labels) > 0
    assert after["xingyue_waiting_calls", (("trunk", trunk),)] == 0
