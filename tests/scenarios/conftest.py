"""A real platform, whole: embedded S3, Ray Serve behind HAProxy, gateway, SQLite, real weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Running:
    url: str
    key: str
    admin_key: str
    home: Path
    environment: dict[str, str]

    @property
    def pid(self) -> int:
        return int((self.home / "platform.pid").read_text().split()[0])

    def headers(self, key: str | None = None) -> dict[str, str]:
        return {"authorization": f"Bearer {key or self.key}"}

    def sample(self, name: str) -> bytes:
        return (self.home / "samples" / f"{name}.png").read_bytes()

    def xingyue(self, *arguments: str, timeout_s: float = 420) -> subprocess.CompletedProcess[str]:
        """Run the CLI against this platform."""
        return subprocess.run(
            [sys.executable, "-m", "xingyue.cli.main", *arguments],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )

    def events(self) -> list[dict[str, Any]]:
        """All usage events of the demo tenant, by the cursor."""
        found: list[dict[str, Any]] = []
        cursor = "0"
        while True:
            page = httpx.get(
                f"{self.url}/v1/usage/events?limit=500&cursor={cursor}",
                headers=self.headers(),
                timeout=30,
            )
            assert page.status_code == 200, page.text
            if not page.json():
                return found
            found += page.json()
            cursor = page.headers["x-xingyue-cursor"]

    def replica_pids(self, application: str) -> list[int]:
        """Serve replicas of an application below the platform's process, by walking /proc."""
        parents: dict[int, int] = {}
        names: dict[int, str] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    stat = (entry / "stat").read_text().rpartition(")")[2].split()
                    command = (entry / "cmdline").read_bytes().decode(errors="replace")
                except (FileNotFoundError, ProcessLookupError):
                    continue
                parents[int(entry.name)], names[int(entry.name)] = int(stat[1]), command

        def ours(pid: int) -> bool:
            while pid > 1:
                if pid == self.pid:
                    return True
                pid = parents.get(pid, 0)
            return False

        wanted = f"ServeReplica:{application}:"
        return [pid for pid, name in names.items() if wanted in name and ours(pid)]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What brings up a platform of its own goes first: it would fight for the processor with the
    one that the others share, which stays up to the end."""
    items.sort(key=lambda item: item.path.name != "test_many_gateways.py")


@contextmanager
def started(home: Path, **settings: str) -> Iterator[Running]:
    """A platform under ``home``, brought up by the CLI and taken down at the end."""
    environment = os.environ | {
        "XINGYUE_HOME": str(home),
        "XINGYUE_CATALOG": str(ROOT / "catalog.yaml"),
        "XINGYUE_PORT": str(_free_port()),
        "XINGYUE_GRPC_PORT": str(_free_port()),
        "XINGYUE_S3_PORT": str(_free_port()),
    }
    environment.pop("XINGYUE_URL", None)
    running = Running("", "", "", home, environment | settings)
    up = running.xingyue("up")
    try:
        assert up.returncode == 0, up.stdout + up.stderr
        pairs = dict(line.split("=", 1) for line in (home / "demo.env").read_text().splitlines())
        yield replace(
            running,
            url=pairs["XINGYUE_URL"],
            key=pairs["XINGYUE_API_KEY"],
            admin_key=pairs["XINGYUE_ADMIN_KEY"],
        )
    finally:
        running.xingyue("down", timeout_s=120)


@pytest.fixture(scope="session")
def start_platform() -> Any:
    return started


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    weights = ROOT / ".xingyue" / "weights"
    if weights.is_dir():
        (home / "weights").symlink_to(weights)
    with started(home) as running:
        yield running
