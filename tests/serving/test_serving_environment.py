from __future__ import annotations

from pathlib import Path

from xingyue.serving import environment
from xingyue.settings import Settings

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


def test_a_batch_of_the_largest_bodies_fits_one_message(tmp_path: Path) -> None:
    """Ray's own default is 4 MiB."""
    body_max_bytes = Settings(_env_file=None).body_max_bytes
    limit = int(_prepared(tmp_path)["RAY_SERVE_REPLICA_GRPC_MAX_MESSAGE_LENGTH"])
    assert 16 * body_max_bytes <= limit < 2**31
