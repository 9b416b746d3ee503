"""What happened between two looks at ``/metrics``. Arithmetic only: no network, no terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from xingyue.errors import InvalidRequest

Labels = tuple[tuple[str, str], ...]
Series = dict[tuple[str, Labels], float]

# Calls of models; everything else is looking and managing.
_MODEL_ROUTES = ("/v1/inspect", "/v1/chat", "/v1/embeddings")


def parse(page: str) -> Series:
    """Every sample of a page in Prometheus' text format. ``InvalidRequest`` if it is none."""
    try:
        return {
            # The parser calls Triton's counters `…_total`, which the page does not.
            (_name(sample.name), tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }
    except ValueError as error:
        raise InvalidRequest(f"that is no page of Prometheus metrics: {error}") from error


def process_of(series: Series) -> float:
    """Tells gateway processes apart: when this one began, seconds since the epoch."""
    return series.get(("process_start_time_seconds", ()), 0.0)


@dataclass(slots=True)
class ModelRates:
    model: str
    per_s: float = 0.0
    failed_per_s: float = 0.0
    mean_ms: float | None = None
    queue_ms: float | None = None
    compute_ms: float | None = None
    units_per_s: float = 0.0
    units: int = 0
    revenue_micros_per_s: float = 0.0
    revenue_micros: int = 0
    pending: int = 0


@dataclass(slots=True)
class TrunkRates:
    trunk: str
    batches_per_s: float = 0.0
    batch_size: float | None = None
    waiting: int = 0


@dataclass(slots=True)
class Rates:
    """Of all gateways seen, over ``seconds``; totals since each began."""

    seconds: float
    gateways: int
    requests_per_s: float
    calls_per_s: float
    refused_per_s: dict[str, float]
    p50_ms: float | None
    p99_ms: float | None
    overhead_p50_ms: float | None
    commits_per_s: float
    commit_operations: float | None
    commit_p99_ms: float | None
    leases: dict[str, int]
    models: list[ModelRates] = field(default_factory=list)
    trunks: list[TrunkRates] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Between:
    """``before`` and ``after`` by process. A process that is new counts from its beginning; one
    that has gone counts no more."""

    before: dict[float, Series]
    after: dict[float, Series]
    seconds: float

    def total(self, name: str, keep: Callable[[dict[str, str]], bool] = lambda _: True) -> float:
        return sum(
            value
            for series in self.after.values()
            for (each, labels), value in series.items()
            if each == name and keep(dict(labels))
        )

    def grown(self, name: str, keep: Callable[[dict[str, str]], bool] = lambda _: True) -> float:
        found = 0.0
        for process, series in self.after.items():
            old = self.before.get(process, {})
            for key, value in series.items():
                if key[0] == name and keep(dict(key[1])):
                    found += value - old.get(key, 0.0)
        return found

    def values_of(self, name: str, label: str) -> list[str]:
        return sorted(
            {
                dict(labels)[label]
                for series in self.after.values()
                for each, labels in series
                if each == name
            }
        )

    def quantile_ms(
        self, q: float, name: str, keep: Callable[[dict[str, str]], bool] = lambda _: True
    ) -> float | None:
        """Of a histogram's growth, linear within the bucket as Prometheus has it; None if nothing
        was seen, the highest bound if it lies above all."""
        bounds = {
            float(dict(labels)["le"])
            for series in self.after.values()
            for each, labels in series
            if each == f"{name}_bucket"
        }
        grown = dict.fromkeys(sorted(bounds), 0.0)
        for bound in grown:

            def within(labels: dict[str, str], bound: float = bound) -> bool:
                return float(labels["le"]) == bound and keep(labels)

            grown[bound] = self.grown(f"{name}_bucket", within)
        value = quantile(q, grown.items())
        return None if value is None else round(value * 1e3, 2)


def quantile(q: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """``buckets``: upper bound -> cumulative count, ascending, the last bound infinite."""
    known = list(buckets)
    if not known or known[-1][1] <= 0:
        return None
    wanted = q * known[-1][1]
    low, below = 0.0, 0.0
    for bound, count in known:
        if count >= wanted:
            if math.isinf(bound):
                return low
            inside = count - below
            return low + (bound - low) * ((wanted - below) / inside if inside else 1.0)
        low, below = bound, count
    return low


def rates(between: Between) -> Rates:
    """Everything that the view shows."""
    per_s = 1.0 / max(between.seconds, 1e-9)

    def calls(labels: dict[str, str]) -> bool:
        route = labels.get("route", "")
        return route.startswith(_MODEL_ROUTES) or route.endswith("/infer")

    refused = {
        code: between.grown("xingyue_refusals_total", _is("code", code)) * per_s
        for code in between.values_of("xingyue_refusals_total", "code")
    }
    commits = between.grown("xingyue_meter_commit_operations_count")
    return Rates(
        seconds=round(between.seconds, 3),
        gateways=len(between.after),
        requests_per_s=round(between.grown("xingyue_requests_total") * per_s, 2),
        calls_per_s=round(between.grown("xingyue_requests_total", calls) * per_s, 2),
        refused_per_s={code: round(rate, 2) for code, rate in refused.items() if rate},
        p50_ms=between.quantile_ms(0.5, "xingyue_request_seconds", calls),
        p99_ms=between.quantile_ms(0.99, "xingyue_request_seconds", calls),
        overhead_p50_ms=between.quantile_ms(0.5, "xingyue_overhead_seconds"),
        commits_per_s=round(commits * per_s, 2),
        commit_operations=_ratio(between.grown("xingyue_meter_commit_operations_sum"), commits),
        commit_p99_ms=between.quantile_ms(0.99, "xingyue_meter_commit_seconds"),
        leases={
            outcome: int(between.total("xingyue_meter_leases_total", _is("outcome", outcome)))
            for outcome in between.values_of("xingyue_meter_leases_total", "outcome")
        },
        models=[_model(between, name, per_s) for name in _models(between)],
        trunks=[
            _trunk(between, name, per_s)
            for name in between.values_of("xingyue_batch_size_count", "trunk")
        ],
    )


def _models(between: Between) -> list[str]:
    names = set(between.values_of("nv_inference_request_success", "model"))
    return sorted(names | set(between.values_of("xingyue_units_total", "model")))


def _model(between: Between, name: str, per_s: float) -> ModelRates:
    keep = _is("model", name)

    def grown(what: str) -> float:
        return between.grown(f"nv_inference_{what}", keep)

    done, failed = grown("request_success"), grown("request_failure")
    return ModelRates(
        model=name,
        per_s=round(done * per_s, 2),
        failed_per_s=round(failed * per_s, 2),
        mean_ms=_ratio(grown("request_duration_us") / 1e3, done + failed),
        queue_ms=_ratio(grown("queue_duration_us") / 1e3, done),
        compute_ms=_ratio(grown("compute_infer_duration_us") / 1e3, done),
        units_per_s=round(between.grown("xingyue_units_total", keep) * per_s, 2),
        units=int(between.total("xingyue_units_total", keep)),
        revenue_micros_per_s=round(between.grown("xingyue_cost_micros_total", keep) * per_s, 2),
        revenue_micros=int(between.total("xingyue_cost_micros_total", keep)),
        pending=int(between.total("nv_inference_pending_request_count", keep)),
    )


def _trunk(between: Between, name: str, per_s: float) -> TrunkRates:
    keep = _is("trunk", name)
    batches = between.grown("xingyue_batch_size_count", keep)
    return TrunkRates(
        trunk=name,
        batches_per_s=round(batches * per_s, 2),
        batch_size=_ratio(between.grown("xingyue_batch_size_sum", keep), batches),
        waiting=int(between.total("xingyue_waiting_calls", keep)),
    )


def _is(label: str, value: str) -> Callable[[dict[str, str]], bool]:
    return lambda labels: labels.get(label) == value


def _ratio(part: float, whole: float) -> float | None:
    return round(part / whole, 2) if whole else None


def _name(name: str) -> str:
    return name.removesuffix("_total") if name.startswith("nv_inference_") else name
