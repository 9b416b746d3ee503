"""A platform of the benchmark's own: temporary home, free ports, its own tenant, real meter."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from xingyue.demo import read_env
from xingyue.errors import Internal
from xingyue_benchmarks.catalogue import ROOT
from xingyue_benchmarks.scenario import Scenario

TENANT = "bench"
_CREDIT_MICROS = 10**13
_UP_S, _DOWN_S = 600, 180
_PAGE = 500


@dataclass(slots=True)
class Deployment:
    """``key`` is of a tenant whose limits no load here reaches."""

    home: Path
    host: str
    port: int
    key: str
    admin_key: str
    environment: dict[str, str] = field(repr=False)
    cursor: str = "0"
    """Events before it were read."""

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return int((self.home / "platform.pid").read_text().split()[0])

    def new_events(self) -> list[dict[str, Any]]:
        """The tenant's usage events since the last time, by the public cursor."""
        found: list[dict[str, Any]] = []
        with httpx.Client(timeout=60) as client:
            while True:
                page = client.get(
                    f"{self.url}/v1/usage/events?limit={_PAGE}&cursor={self.cursor}",
                    headers={"authorization": f"Bearer {self.key}"},
                )
                page.raise_for_status()
                if not page.json():
                    return found
                found += page.json()
                self.cursor = page.headers["x-xingyue-cursor"]

    def trial_balance(self) -> dict[str, Any]:
        answer = httpx.get(
            f"{self.url}/admin/v1/trial-balance",
            headers={"authorization": f"Bearer {self.admin_key}"},
            timeout=120,
        )
        answer.raise_for_status()
        balance: dict[str, Any] = answer.json()
        return balance


@contextmanager
def deployed(scenario: Scenario, home: Path, catalogue: Path) -> Iterator[Deployment]:
    """Up, and down again whatever happens. ``Internal`` with what was said if it can't start."""
    weights = ROOT / ".xingyue" / "weights"
    if weights.is_dir() and not (home / "weights").exists():
        (home / "weights").symlink_to(weights)
    port = _free_port()
    own = os.pathsep.join(filter(None, (str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH"))))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XINGYUE_")}
    environment = kept | {
        "XINGYUE_HOME": str(home),
        "XINGYUE_CATALOG": str(catalogue),
        "XINGYUE_PORT": str(port),
        "XINGYUE_GRPC_PORT": "0",
        "XINGYUE_S3_PORT": str(_free_port()),
        # The head of the image scenario lies in this package.
        "PYTHONPATH": own,
        **scenario.settings,
    }
    try:
        _xingyue(environment, "up", timeout_s=_UP_S)
        keys = read_env(home)
        admin = keys["XINGYUE_ADMIN_KEY"]
        key = _tenant(f"http://127.0.0.1:{port}", admin)
        yield Deployment(home, "127.0.0.1", port, key, admin, environment)
    finally:
        _xingyue(environment, "down", timeout_s=_DOWN_S)


def _xingyue(environment: dict[str, str], command: str, *, timeout_s: float) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "xingyue.cli.main", command],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
        raise Internal(f"xingyue {command} failed:\n{said}")


def _tenant(url: str, admin_key: str) -> str:
    """Through the operator's own door: a tenant with credit and no limit in the way; its key."""
    limits = {
        "rate_limit_requests": 10**9,
        "concurrency_max": 10**6,
        "allow_noncommercial": True,
    }
    with httpx.Client(
        base_url=f"{url}/admin/v1", headers={"authorization": f"Bearer {admin_key}"}, timeout=60
    ) as admin:
        steps = (
            ("/tenants", {"id": TENANT, "name": "Benchmarks", **limits}),
            (f"/tenants/{TENANT}/topups", {"amount_micros": _CREDIT_MICROS, "reference": "bench"}),
            (f"/tenants/{TENANT}/keys", {"name": "bench", "scopes": ["call"]}),
        )
        for path, body in steps:
            answer = admin.post(path, json=body)
            if answer.status_code >= 300:
                raise Internal(f"POST /admin/v1{path} was refused: {answer.text}")
    return str(answer.json()["secret"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
