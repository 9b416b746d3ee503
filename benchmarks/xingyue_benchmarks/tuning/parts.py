"""What is measured; each part prints as it goes and gives its numbers."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from xingyue.errors import Internal
from xingyue_adapters.surface_tuning.accuracy import SETS, KnownSet, Tally, fitting_side, read
from xingyue_adapters.surface_tuning.classify import folds
from xingyue_benchmarks import bodies
from xingyue_benchmarks.deployment import Deployment
from xingyue_benchmarks.load import Platform
from xingyue_benchmarks.scenario import Scenario
from xingyue_benchmarks.tuning.jobs import Tuned, push, tune
from xingyue_client import Xingyue

TIMED = "casting-impeller"
ONE_CLASS_IMAGES = (20, 60, 120)
CONNECTIONS = 16
FOLDS, _SEED = 4, 7
_ROUNDS = 3
_START_S = 120.0


@dataclass(frozen=True, slots=True)
class Bench:
    deployment: Deployment
    scenario: Scenario
    vendor: Xingyue
    data: Path

    def known(self, name: str) -> KnownSet:
        return next(known for known in SETS if known.name == name)


@dataclass(frozen=True, slots=True)
class Options:
    """``sets`` that are measured, all if there are none; ``seconds`` of one load; ``folds_run`` of
    each set."""

    sets: Sequence[str]
    seconds: float
    folds_run: int


def times(bench: Bench, options: Options) -> list[dict[str, Any]]:
    samples = read(bench.known(TIMED), bench.data)
    good = [sample for sample in samples if not sample.defective]
    jobs = [("one-class", good[:count]) for count in ONE_CLASS_IMAGES]
    found = []
    for method, images in [*jobs, ("classification", samples)]:
        suffix = f"{method}-{len(images)}"
        tuned = tune(bench.vendor, bench.scenario.model, method, suffix, images)
        _say_times(method, tuned)
        found.append({"method": method} | tuned.to_json())
    return found


def accuracy(bench: Bench, options: Options) -> list[dict[str, Any]]:
    """Folds of each by group, pooled; the divisions of ``surface_tuning.accuracy``."""
    found = []
    for number, known in enumerate(SETS):
        if options.sets and known.name not in options.sets:
            continue
        samples, tally, jobs = read(known, bench.data), Tally(), []
        for fold, (fitted, held) in enumerate(folds(samples, FOLDS, _SEED)[: options.folds_run]):
            images = fitting_side(known, [samples[i] for i in fitted], _SEED)
            suffix = f"{known.name}-{number}-{fold}"
            tuned = tune(bench.vendor, bench.scenario.model, known.method, suffix, images)
            jobs.append(tuned.to_json())
            for sample in (samples[i] for i in held):
                answer = bench.vendor.inspect(tuned.model, sample.path)
                classes = [each.label for each in answer.classes or ()]
                tally.add(sample.label, answer.verdict == "fail", answer.score, classes)
        measures = tally.measures()
        told = ", ".join(f"{name} {value:.3f}" for name, value in measures.items())
        slowest = max(job["callable_s"] for job in jobs)
        print(f"  {known.name} {known.method}: {len(tally.truth)} held out in {len(jobs)} folds, "
              f"{told} ({known.target}); callable after {slowest:.1f} s", flush=True)  # fmt: skip
        found.append({"set": known.name, "method": known.method, "jobs": jobs} | measures)
    return found


def starvation(bench: Bench, options: Options) -> list[dict[str, Any]]:
    """Rounds of: load alone, load beside a job that is fitting."""
    samples = read(bench.known(TIMED), bench.data)
    home = bench.deployment.home
    found = bodies.make(bench.scenario, home / "samples")
    platform = Platform(bench.deployment, bench.scenario, bodies.write(found, home / "bodies"))
    platform.closed(CONNECTIONS, options.seconds)
    rows = []
    uri = push(bench.vendor, "beside", samples)
    for number in range(_ROUNDS):
        alone = platform.closed(CONNECTIONS, options.seconds)
        with fitting(bench, uri, number):
            beside = platform.closed(CONNECTIONS, options.seconds)
        row = {
            "share": round(beside.throughput_rps / alone.throughput_rps, 4),
            "alone_rps": round(alone.throughput_rps, 1),
            "beside_rps": round(beside.throughput_rps, 1),
            "alone_p99_ms": alone.latency_ms["99"],
            "beside_p99_ms": beside.latency_ms["99"],
        }
        print(f"  {number + 1}/{_ROUNDS} {row}", flush=True)
        rows.append(row)
    print(
        f"  calls beside a running job: {median(row['share'] for row in rows):.2f} of those alone"
    )
    return rows


@contextmanager
def fitting(bench: Bench, uri: str, number: int) -> Iterator[None]:
    """A job that is fitting when the block begins, and cancelled at its end."""
    doors = bench.vendor.fine_tuning
    job = doors.create(
        bench.scenario.model, uri, suffix=f"beside-{number}", method="classification"
    )
    until_s = time.monotonic() + _START_S
    while job.status != "running":
        if job.ended or time.monotonic() > until_s:
            raise Internal(f"the job beside the load is {job.status}")
        time.sleep(0.2)
        job = doors.retrieve(job.id)
    try:
        yield
        if (job := doors.retrieve(job.id)).ended:
            raise Internal("the job ended before the load did; take fewer --seconds")
    finally:
        doors.cancel(job.id)


def _say_times(method: str, tuned: Tuned) -> None:
    print(
        f"  {method}, {tuned.images} images: pushed in {tuned.push_s:.1f} s, callable "
        f"{tuned.callable_s:.1f} s after the request, {tuned.compute_s} compute-seconds",
        flush=True,
    )
