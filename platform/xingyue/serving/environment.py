"""Ray's own switches. They are read when Ray is imported, so they are set before that, here."""

from __future__ import annotations

import hashlib
import os
import socket
import tempfile
from collections.abc import MutableMapping
from pathlib import Path

FIXED = {
    # No usage reports leave the machine.
    "RAY_USAGE_STATS_ENABLED": "0",
    # Direct gRPC between replicas, user code in the replica's own loop.
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    # What a replica takes and gives at once: a batch of bodies as large as the gateway allows.
    # Ray's default of 4 MiB refuses one large picture, and the small ones that share its batch.
    "RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH": str(2**31 - 1),
    # Ray's background reporting cost a tenth of the throughput on two cores.
    "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS": "5000",
    "RAY_metrics_report_interval_ms": "60000",
    "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
    # Errors are retried by our own rules: never a second time behind the meter's back.
    "RAY_SERVE_HAPROXY_RETRIES": "0",
    # HAProxy on the same node sees a leaving replica within a second; 30 is for balancers outside.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "2",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "2",
    "RAY_SERVE_LOG_TO_STDERR": "0",
    "RAY_DEDUP_LOGS": "1",
}

_OWN_PORTS = (
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    # HAProxy turns to it while no gateway is up. Ray binds it with SO_REUSEPORT: on its default,
    # 8500, the calls of a platform that starts would be answered by another one's gateway.
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)


def prepare(environment: MutableMapping[str, str], *, home: Path, haproxy: bool) -> None:
    """Set what is not set: an operator's own choice wins.

    ``home`` keeps platforms on one machine apart: HAProxy's files and side ports are its own, where
    Ray's defaults are one set for the whole machine.
    """
    for name, value in FIXED.items():
        environment.setdefault(name, value)
    environment.setdefault("RAY_SERVE_ENABLE_HA_PROXY", "1" if haproxy else "0")
    if haproxy:
        for name, value in _haproxy_files(home).items():
            environment.setdefault(name, value)
        for name in _OWN_PORTS:
            environment.setdefault(name, str(_free_port()))


def _haproxy_files(home: Path) -> dict[str, str]:
    # Not under home: the path of a Unix socket may have 107 bytes at most.
    name = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"xingyue-{os.getuid()}-{name}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return {
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(folder / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(folder / "admin.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(folder),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(folder / "server-state"),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
