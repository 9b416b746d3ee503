"""What one process tells Prometheus. Bottom layer: every part may count, none may read.

Inference under Triton's names (``nv_inference_*``), the rest as ``xingyue_*``. Numbers are of this
process alone; sum them over gateways. Labels are bounded by the catalogue, the routes and the codes
of errors: never a tenant, a key or a variant (a variant counts under its base model).

On the hot path a count is an addition on an object that was bound before, without a look-up by
labels wherever a call has one at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from prometheus_client import (
    REGISTRY,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

# When each series began: nobody asks, and it doubles the page.
disable_created_metrics()  # type: ignore[no-untyped-call]

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1, 2, 5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)

_requests = Counter("xingyue_requests", "Answers.", ["route", "method", "status"])
_request_seconds = Histogram(
    "xingyue_request_seconds",
    "From a request's first byte here to its answer's head; of a stream, to its first token.",
    ["route"],
    buckets=_SECONDS,
)
_refusals = Counter("xingyue_refusals", "Calls refused or failed, by code.", ["code"])
overhead = Histogram(
    "xingyue_overhead_seconds", "A call's time less the model's own compute.", buckets=_SECONDS
)
_units = Counter("xingyue_units", "Units billed.", ["model", "unit"])
_cost = Counter("xingyue_cost_micros", "Micros of CNY billed.", ["model"])
_batch = Histogram("xingyue_batch_size", "Items of a batch.", ["trunk"], buckets=_SIZES)
_waiting = Gauge("xingyue_waiting_calls", "Calls that wait for a batch.", ["trunk"])
commit_size = Histogram(
    "xingyue_meter_commit_operations", "Operations of one group commit.", buckets=_SIZES
)
commit_seconds = Histogram(
    "xingyue_meter_commit_seconds", "Time of one group commit, fsync included.", buckets=_SECONDS
)
_leases = Counter(
    "xingyue_meter_leases",
    "Leases of credit: granted, not_covered (a refusal), given_back, session_lost. Of calls that "
    "the ledger weighs itself: secured, limit_reached.",
    ["outcome"],
)


_webhooks = Counter(
    "xingyue_webhook_attempts", "Batches sent to webhooks: delivered, failed, parked.", ["outcome"]
)


def webhook_attempt(outcome: str) -> None:
    _webhooks.labels(outcome).inc()


_held_refusals = Counter(
    "xingyue_meter_held_refusals",
    "Calls refused for money or units that others had set aside and may not use.",
)


@dataclass(slots=True)
class ModelStats:
    """Triton's counters of one model and version. Plain integers: one event loop adds."""

    request_success: int = 0
    request_failure: int = 0
    count: int = 0
    exec_count: int = 0
    request_duration_us: int = 0
    queue_duration_us: int = 0
    compute_infer_duration_us: int = 0
    pending_request_count: int = 0


_HELP = {
    "request_success": "Successful inference requests",
    "request_failure": "Failed inference requests",
    "count": "Inferences performed, one per item of a batch",
    "exec_count": "Batches run that held an item of this model",
    "request_duration_us": "Cumulative time of requests, microseconds",
    "queue_duration_us": "Cumulative time that requests waited for a batch, microseconds",
    "compute_infer_duration_us": "Cumulative time of the batches of requests, microseconds",
    "pending_request_count": "Inference requests that wait or run",
}
_stats: dict[tuple[str, str], ModelStats] = {}


def model_stats(model: str, version: str) -> ModelStats:
    """Of an entry of the catalogue, the same object each time."""
    found = _stats.get((model, version))
    if found is None:
        found = _stats[model, version] = ModelStats()
    return found


@cache
def _answer_counters(
    route: str, method: str, status: int
) -> tuple[Callable[[], None], Callable[[float], None]]:
    counted, timed = _requests.labels(route, method, str(status)), _request_seconds.labels(route)
    return counted.inc, timed.observe


def answered(route: str, method: str, status: int, seconds: float) -> None:
    """``route`` is the template, such as ``/v1/files/{file_id}``, never the path that was sent."""
    count, observe = _answer_counters(route, method, status)
    count()
    observe(seconds)


def refused(code: str) -> None:
    _refusals.labels(code).inc()


@cache
def _bill_counters(model: str, unit: str) -> tuple[Counter, Counter]:
    return _units.labels(model, unit), _cost.labels(model)


def billed(model: str, unit: str, units: int, cost_micros: int) -> None:
    by_unit, by_cost = _bill_counters(model, unit)
    by_unit.inc(units)
    by_cost.inc(cost_micros)


def trunk_watch(trunk: str, waiting: Callable[[], int]) -> Callable[[float], None]:
    """``waiting`` is asked at each scrape; what comes back takes the size of each batch."""
    _waiting.labels(trunk).set_function(waiting)
    return _batch.labels(trunk).observe


def held_refusal() -> None:
    """A call was refused for what other calls or gateways had set aside and may not use."""
    _held_refusals.inc()


def lease(outcome: str) -> None:
    _leases.labels(outcome).inc()


def exposition() -> bytes:
    """The page that Prometheus reads, text format 0.0.4."""
    return generate_latest(REGISTRY) + "".join(_triton_lines()).encode()


def _triton_lines() -> list[str]:
    """By hand: the client library would add ``_total`` to the names of Triton's counters."""
    lines: list[str] = []
    for field, words in _HELP.items():
        name = f"nv_inference_{field}"
        kind = "gauge" if field == "pending_request_count" else "counter"
        lines.append(f"# HELP {name} {words}\n# TYPE {name} {kind}\n")
        lines += [
            f'{name}{{model="{model}",version="{version}"}} {getattr(stats, field)}\n'
            # A copy: on its own port the page is made beside the loop that counts.
            for (model, version), stats in list(_stats.items())
        ]
    return lines
