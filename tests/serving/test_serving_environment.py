from __future__ import annotations

from pathlib import Path

from xingyue.serving import environment

OWN = (
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC",
    "RAY_SERVE_HAPROXY_SOCKET_PATH",
    "RAY_SERVE_HAPROXY_METRICS_PORT",
    "RAY_SERVE_HAPROXY_STATS_PORT",
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT",
    "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT",
)


def _prepared(home: Path, **given: str) -> dict[str, str]:
    environment.prepare(given, home=home, haproxy=True)
    return given


def test_two_platforms_share_neither_files_nor_side_ports(tmp_path: Path) -> None:
    first, second = _prepared(tmp_path / "a"), _prepared(tmp_path / "b")
    for name in OWN:
        assert first[name] != second[name], name
    ports = [first[name] for name in OWN if name.endswith("_PORT")]
    assert len(set(ports)) == len(ports)


def test_an_operators_own_choice_wins(tmp_path: Path) -> None:
    kept = _prepared(tmp_path, RAY_SERVE_FALLBACK_PROXY_HTTP_PORT="8599", RAY_DEDUP_LOGS="0")
    assert kept["RAY_SERVE_FALLBACK_PROXY_HTTP_PORT"] == "8599"
    assert kept["RAY_DEDUP_LOGS"] == "0"
