"""The engine's part: real trunk, real heads out of a real S3 server, no HTTP and no hop.

Throughput with 1, 10, 100 and 1,000 variants called in turn, interleaved round by round; the first
call of cold variants; what a resident head takes in memory; what is left when the cache is too
small for all of them.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

from xingyue.catalog.heads import HeadSource
from xingyue.catalog.loader import load_catalog
from xingyue.catalog.weights import WeightStore
from xingyue.contract import HeadRef, WorkItem, WorkResult
from xingyue.errors import Internal
from xingyue.serving.engine import Engine
from xingyue.storage.objects import ObjectStore
from xingyue_benchmarks import appliance
from xingyue_benchmarks.catalogue import ROOT, SHIPPED

TRUNK = "efficientnet-lite0"
BATCH = 4
IMAGES = 8
Say = Callable[[str], None]


@dataclass(slots=True)
class EngineReport:
    """``throughput_ips``: images a second by count of variants, one number a round; ``cpu_ms``:
    processor time of each image in the same loads, which a busy machine disturbs less."""

    counts: list[int]
    batch: int
    throughput_ips: dict[int, list[float]] = field(default_factory=dict)
    cpu_ms: dict[int, list[float]] = field(default_factory=dict)
    warm_call_ms: dict[str, float] = field(default_factory=dict)
    cold_call_ms: dict[str, float] = field(default_factory=dict)
    cold_load_ms: dict[str, float] = field(default_factory=dict)
    """Of a cold call, getting the head alone: S3, digests, disk, memory."""
    head_bytes: int = 0
    """As the cache counts it."""
    allocated_bytes_per_head: float = 0.0
    """By each head, all that Python and NumPy allocated around it included."""
    overflow: list[dict[str, Any]] = field(default_factory=list)

    def ratio(self, count: int) -> float:
        """Throughput at ``count`` over that of one variant, round by round, then the median."""
        one = self.throughput_ips[self.counts[0]]
        pairs = zip(self.throughput_ips[count], one, strict=True)
        return median(many / single for many, single in pairs)

    def to_json(self) -> dict[str, Any]:
        ratios = {str(count): round(self.ratio(count), 4) for count in self.counts}
        cheapest = {count: min(values) for count, values in self.cpu_ms.items()}
        cpu = {
            str(count): round(cheapest[self.counts[0]] / ms, 4) for count, ms in cheapest.items()
        }
        return asdict(self) | {"ratio_to_one": ratios, "cpu_ratio_to_one": cpu}


class Bench:
    """``cache``: an empty folder, so that the first call of every head is cold."""

    def __init__(self, objects: ObjectStore, cache: Path, refs: Sequence[HeadRef]) -> None:
        catalog = load_catalog(SHIPPED)
        self._spec = catalog.trunks[TRUNK]
        self._weights = WeightStore(ROOT / ".xingyue" / "weights", catalog.weights, False)
        self._heads = HeadSource(cache, objects)
        self._images = [appliance.jpeg(seed, 640, 480, 90) for seed in range(IMAGES)]
        self._refs = refs

    def run(self, *, counts: list[int], seconds: float, rounds: int, say: Say) -> EngineReport:
        report = EngineReport(counts, BATCH)
        engine = self._engine(self._spec.head_cache_bytes)
        try:
            self._warm(engine, report)
            self._cold(engine, report, say)
            for number in range(rounds):
                # Forwards and backwards, so that a drift of the machine favours no count.
                for count in counts if number % 2 == 0 else counts[::-1]:
                    got, cpu_ms = self._load(engine, cycle(self._refs[:count]), seconds)
                    report.throughput_ips.setdefault(count, []).append(got)
                    report.cpu_ms.setdefault(count, []).append(cpu_ms)
                    say(f"  {number + 1}: {count} variants {got:.1f} images/s, {cpu_ms:.2f} ms CPU")
        finally:
            engine.close()
        self._memory(report)
        self._overflow(report, seconds, say)
        return report

    def _engine(self, head_cache_bytes: int) -> Engine:
        spec = self._spec.model_copy(update={"head_cache_bytes": head_cache_bytes})
        return Engine(spec, lambda name: self._weights.ensure(name, lambda *_: None), self._heads)

    def _item(self, ref: HeadRef, number: int) -> WorkItem:
        image = self._images[number % len(self._images)]
        return WorkItem("inspect", ref, {"image": image}, {"threshold": None, "heatmap": False})

    def _call(self, engine: Engine, ref: HeadRef, number: int) -> float:
        """Milliseconds of one item alone."""
        started_s = time.perf_counter()
        (outcome,), _ = engine.infer([self._item(ref, number)])
        if not isinstance(outcome, WorkResult):
            raise outcome
        return (time.perf_counter() - started_s) * 1e3

    def _warm(self, engine: Engine, report: EngineReport) -> None:
        for number in range(2 * BATCH):
            self._call(engine, self._refs[0], number)
        self._load(engine, cycle(self._refs[:1]), 1.0)
        report.warm_call_ms = quantiles(
            [self._call(engine, self._refs[0], number) for number in range(100)]
        )

    def _cold(self, engine: Engine, report: EngineReport, say: Say) -> None:
        """Every variant's first call, one after another; the heads stay resident."""
        cold = self._refs[1:]
        calls_ms = [self._call(engine, ref, number) for number, ref in enumerate(cold)]
        report.cold_call_ms = quantiles(calls_ms)
        warm = report.warm_call_ms["50"]
        report.cold_load_ms = quantiles([max(0.0, each - warm) for each in calls_ms])
        report.head_bytes = engine.head_bytes // len(self._refs)
        p50_ms, p99_ms = report.cold_call_ms["50"], report.cold_call_ms["99"]
        say(f"  cold calls: p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")

    def _memory(self, report: EngineReport) -> None:
        """All heads into a new engine, their files on disk already."""
        engine = self._engine(self._spec.head_cache_bytes)
        try:
            tracemalloc.start()
            for ref in self._refs:
                engine.load(ref)
            report.allocated_bytes_per_head = tracemalloc.get_traced_memory()[0] / len(self._refs)
        finally:
            tracemalloc.stop()
            engine.close()

    def _load(self, engine: Engine, refs: Iterator[HeadRef], seconds: float) -> tuple[float, float]:
        """Images a second, in batches as a replica gets them, and CPU milliseconds of each."""
        done, started_s, used_s = 0, time.perf_counter(), time.process_time()
        while (now_s := time.perf_counter()) - started_s < seconds:
            items = [self._item(ref, done + at) for at, ref in enumerate(islice(refs, BATCH))]
            outcomes, _ = engine.infer(items)
            for outcome in outcomes:
                if not isinstance(outcome, WorkResult):
                    raise Internal(f"a variant failed: {outcome}")
            done += len(items)
        return done / (now_s - started_s), (time.process_time() - used_s) / done * 1e3

    def _overflow(self, report: EngineReport, seconds: float, say: Say) -> None:
        """A cache for a part of the heads. In turn is the worst order there is for an LRU."""
        total = report.head_bytes * len(self._refs)
        for share in (1.0, 0.9, 0.75, 0.5, 0.25, 0.1):
            engine = self._engine(int(total * share) + report.head_bytes)
            try:
                for ref in self._refs:
                    engine.load(ref)
                rng = random.Random(7)
                orders: dict[str, Iterator[HeadRef]] = {
                    "in turn": cycle(self._refs),
                    "at random": (rng.choice(self._refs) for _ in cycle((0,))),
                    "one variant": cycle(self._refs[-1:]),
                }
                row: dict[str, Any] = {"share": share}
                for name, order in orders.items():
                    row[name], row[f"{name}, CPU ms"] = self._load(engine, order, seconds)
                report.overflow.append(row)
                say("  cache for {share:.0%}: ".format(**row) + _words(row))
            finally:
                engine.close()


def _words(row: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in row.items() if name != "share")


def quantiles(values: Sequence[float]) -> dict[str, float]:
    """Nearest rank: 50th, 99th and the largest."""
    ordered = sorted(values)
    rank = {name: ordered[min(len(ordered) - 1, int(p * len(ordered)))] for name, p in _RANKS}
    return {name: round(value, 3) for name, value in rank.items()} | {
        "max": round(ordered[-1], 3),
        "count": len(ordered),
    }


_RANKS = (("50", 0.5), ("90", 0.9), ("99", 0.99))
