"""A peer in a process of its own, one thread: no HTTP, no hop, no meter.

    raw     decode, resize, trunk, head, by hand with OpenCV and ONNX Runtime: what someone writes
            who has one model and one afternoon
    engine  the platform's own engine and family, one body at a time

It is told ``run <seconds>`` on standard input and answers with a line of JSON: calls made, seconds,
latencies, CPU. Between runs it sleeps.
"""

from __future__ import annotations

import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.loader import load_catalog
from xingyue.catalog.spec import Catalog
from xingyue.catalog.weights import WeightStore
from xingyue.contract import WorkResult
from xingyue.serving.engine import Engine
from xingyue.serving.head_refs import head_ref
from xingyue_benchmarks import bodies
from xingyue_benchmarks.raw_model import RawModel, RawSpec
from xingyue_benchmarks.scenario import Scenario

Call = Callable[[int], None]
"""Answer the body with this number; raises if it can't."""
_CALLS_MAX = 5_000_000


def engine_call(scenario: Scenario, catalog: Catalog, home: Path, found: list[bodies.Body]) -> Call:
    entry = catalog.models[0]
    assert entry.trunk is not None, "catalogue.compose lists entries with a trunk"
    store = WeightStore(home / "weights", catalog.weights, allow_hub=False)
    heads = HeadSource(home / "cache" / "peer-heads")
    engine = Engine(catalog.trunks[entry.trunk], store.ensure, heads)
    items = [body.items(head_ref(entry)) for body in found]

    def call(number: int) -> None:
        outcomes, _ = engine.infer(items[number % len(items)])
        for outcome in outcomes:
            if not isinstance(outcome, WorkResult):
                raise outcome

    return call


def raw_call(scenario: Scenario, catalog: Catalog, home: Path, found: list[bodies.Body]) -> Call:
    model = RawModel(raw_spec(scenario, catalog, home))

    def call(number: int) -> None:
        for image in found[number % len(found)].images:
            model(image)

    return call


def raw_spec(scenario: Scenario, catalog: Catalog, home: Path) -> RawSpec:
    """The scenario's trunk and head as files, fetched into ``home`` if they are not there yet."""
    entry = catalog.models[0]
    assert entry.trunk is not None, "catalogue.compose lists entries with a trunk"
    store = WeightStore(home / "weights", catalog.weights, allow_hub=False)
    ref = head_ref(entry)
    assert ref is not None, "the peer raw is for models with a head"
    files = HeadSource(home / "cache" / "peer-heads").resolve(ref)
    calibration = files.manifest["calibration"]
    weight = scenario.raw_weight or catalog.trunks[entry.trunk].weights["trunk"]
    return RawSpec(
        trunk=str(store.ensure(weight)),
        head=str(files.folder / "head.onnx"),
        side=scenario.raw_side,
        **{name: float(calibration[name]) for name in ("pixel_weight", "image_weight", "bias")},
    )


def run(call: Call, seconds: float) -> dict[str, object]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    latencies_ms: list[float] = []
    gc.collect()
    start_s = now_s = time.perf_counter()
    while now_s - start_s < seconds and len(latencies_ms) < _CALLS_MAX:
        call(len(latencies_ms))
        done_s = time.perf_counter()
        latencies_ms.append(round((done_s - now_s) * 1e3, 4))
        now_s = done_s
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return {"seconds": now_s - start_s, "latencies_ms": latencies_ms, "cpu_s": cpu_s}


def main() -> None:
    given = json.loads(sys.stdin.readline())
    scenario = Scenario.model_validate(given["scenario"])
    home = Path(given["home"])
    catalog = load_catalog(Path(given["catalog"]))
    found = bodies.make(scenario, home / "samples")
    make = {"raw": raw_call, "engine": engine_call}[given["peer"]]
    cv2.setNumThreads(1)
    call = make(scenario, catalog, home, found)
    for number in range(len(found) + 2):
        call(number)
    print("ready", flush=True)
    for line in sys.stdin:
        command, _, seconds = line.strip().partition(" ")
        if command != "run":
            return
        print(json.dumps(run(call, float(seconds))), flush=True)


if __name__ == "__main__":
    main()
