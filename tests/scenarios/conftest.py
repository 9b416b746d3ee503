"""A real platform, whole: embedded S3, Ray Serve behind HAProxy, gateway, SQLite, real weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Running:
    url: str
    key: str
    admin_key: str
    pid: int
    home: Path

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {key or self.key}"}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    weights = ROOT / ".xingyue" / "weights"
    if weights.is_dir():
        (home / "weights").symlink_to(weights)
    environment = os.environ | {
        "XINGYUE_HOME": str(home),
        "XINGYUE_CATALOG": str(ROOT / "catalog.yaml"),
        "XINGYUE_PORT": str(_free_port()),
        "XINGYUE_S3_PORT": str(_free_port()),
    }
    environment.pop("XINGYUE_URL", None)
    command = [sys.executable, "-m", "xingyue.cli.main"]
    up = subprocess.run(
        [*command, "up"], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=420
    )
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        pairs = dict(line.split("=", 1) for line in (home / "demo.env").read_text().splitlines())
        yield Running(
            pairs["XINGYUE_URL"],
            pairs["XINGYUE_API_KEY"],
            pairs["XINGYUE_ADMIN_KEY"],
            int((home / "platform.pid").read_text().split()[0]),
            home,
        )
    finally:
        subprocess.run([*command, "down"], env=environment, cwd=ROOT, timeout=120, check=False)
