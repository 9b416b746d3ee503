"""Ray's own switches. They are read when Ray is imported, so they are set before that, here."""

from __future__ import annotations

from collections.abc import MutableMapping

FIXED = {
    # No usage reports leave the machine.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Direct gRPC between replicas, user code in the replica's own loop.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # Ray's background reporting cost a tenth of the throughput on two cores.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_metrics_report_interval_ms": "60000",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Errors are retried by our own rules: never a second time behind the meter's back.
    "RAY_SERVE_HAPROXY_RETRIES": "0",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_DEDUP_LOGS": "1",
}


def prepare(environment: MutableMapping[str, str], *, haproxy: bool) -> None:
    """Set what is not set: an operator's own choice wins."""
    for name, value in FIXED.items():
        environment.setdefault(name, value)
    environment.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1" if haproxy else "0")
