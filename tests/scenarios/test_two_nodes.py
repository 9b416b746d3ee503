"""Two Ray nodes on this machine: replicas on both, one node killed under load, nothing lost.

The nodes are real (`ray start`, each with its own raylet and ports); the platform joins them by
``XINGYUE_RAY_ADDRESS`` and takes calls at the head's node, since both share one loopback.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from xingyue.serving import environment

pytestmark = [pytest.mark.ray, pytest.mark.s3, pytest.mark.weights, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).with_name("ray")
MODEL, TRUNK = "appliance-surface-qc", "efficientnet-lite0"
CALLS = 200
TRY_AGAIN = {409, 429, 500, 502, 503, 504}


def _free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@dataclass
class Node:
    """What `ray start --block` brought up, and everything below it."""

    process: subprocess.Popen[bytes]
    name: str

    def replicas(self, application: str) -> list[int]:
        wanted = f"ServeReplica:{application}:"
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if wanted in " ".join(child.cmdline()):
                    found.append(child.pid)
            except psutil.NoSuchProcess:
                continue
        return found

    def kill(self) -> None:
        """As a machine that loses its power: all at once, nobody told."""
        top = psutil.Process(self.process.pid)
        for each in [top, *top.children(recursive=True)]:
            try:
                each.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self.process.wait(30)


@dataclass
class Cluster:
    url: str
    home: Path
    nodes: list[Node] = field(default_factory=list)
    platform: subprocess.Popen[bytes] | None = None

    def key(self, name: str = "XINGYUE_API_KEY") -> str:
        lines = (self.home / "demo.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)[name]

    def get(self, path: str, key: str = "XINGYUE_API_KEY") -> httpx.Response:
        headers = {"authorization": f"Bearer {self.key(key)}"}
        return httpx.get(self.url + path, headers=headers, timeout=60, trust_env=False)


def _catalog(path: Path) -> Path:
    """The shipped catalogue with the one model, its trunk twice."""
    given = yaml.safe_load((ROOT / "catalog.yaml").read_text())
    given["models"] = [each for each in given["models"] if each["id"] == MODEL]
    trunk = given["trunks"][TRUNK] | {"autoscaling": {"min_replicas": 2, "max_replicas": 2}}
    given["trunks"] = {TRUNK: trunk}
    path.write_text(yaml.safe_dump(given, allow_unicode=True))
    return path


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    # Short: sockets of Ray lie below it, and their paths may have 107 bytes.
    home = tmp_path / "home"
    home.mkdir()
    weights = ROOT / ".xingyue" / "weights"
    if weights.is_dir():
        (home / "weights").symlink_to(weights)
    gcs, port, grpc_port, s3_port, *agents = _free_ports(4 + 2 * 4)
    variables = os.environ | {
        "XINGYUE_HOME": str(home),
        "XINGYUE_CATALOG": str(_catalog(tmp_path / "catalog.yaml")),
        "XINGYUE_PORT": str(port),
        "XINGYUE_GRPC_PORT": str(grpc_port),
        "XINGYUE_S3_PORT": str(s3_port),
        "XINGYUE_RAY_ADDRESS": f"127.0.0.1:{gcs}",
        # Two nodes, one loopback: only the head's can bind the port.
        "XINGYUE_RAY_PROXIES": "HeadOnly",
        "XINGYUE_TUNING_SLOTS": "0",
        # `ray start` makes no token where none is set up, and its second node would lack one.
        "RAY_AUTH_MODE": "disabled",
        # What `ray start` says is waited for in its log.
        "PYTHONUNBUFFERED": "1",
    }
    variables.pop("XINGYUE_URL", None)
    # Read by every process of Ray when it starts.
    environment.prepare(variables, home=home, haproxy=True)
    found = Cluster(f"http://127.0.0.1:{port}", home)
    try:
        for index, name in enumerate(("head", "second")):
            mine = agents[4 * index : 4 * index + 4]
            found.nodes.append(_start_node(name, gcs, mine, variables, tmp_path))
        log = (tmp_path / "platform.log").open("wb")
        found.platform = subprocess.Popen(
            [sys.executable, "-m", "xingyue.cli.main", "serve"],
            cwd=ROOT, env=variables, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        _until(lambda: (home / "platform.ready").exists(), 300, tmp_path / "platform.log")
        yield found
    finally:
        if found.platform is not None and found.platform.poll() is None:
            found.platform.terminate()
            try:
                found.platform.wait(90)
            except subprocess.TimeoutExpired:
                found.platform.kill()
        for node in reversed(found.nodes):
            if node.process.poll() is None:
                node.kill()


def _start_node(
    name: str, gcs: int, ports: list[int], variables: dict[str, str], logs: Path
) -> Node:
    place = ["--head", f"--port={gcs}"] if name == "head" else [f"--address=127.0.0.1:{gcs}"]
    manager, objects, agent, agent_grpc = ports
    log = (logs / f"node-{name}.log").open("wb")
    command = [
        str(RAY), "start", *place, "--block", "--node-ip-address=127.0.0.1",
        "--num-cpus=4", f"--object-store-memory={200 * 2**20}",
        f"--node-manager-port={manager}", f"--object-manager-port={objects}",
        f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={agent_grpc}",
        "--disable-usage-stats",
    ]  # fmt: skip
    if name == "head":
        command.append("--include-dashboard=false")
    process = subprocess.Popen(
        command, env=variables, stdout=log, stderr=log, start_new_session=True
    )
    node = Node(process, name)
    # It says so once its raylet is registered, and blocks from then on.
    _until(
        lambda: b"Ray runtime started" in (logs / f"node-{name}.log").read_bytes(),
        120,
        logs / f"node-{name}.log",
    )
    return node


def _until(true: Callable[[], bool], timeout_s: float, log: Path | None = None) -> None:
    until_s = time.monotonic() + timeout_s
    while not true():
        tail = log.read_text(errors="replace")[-2000:] if log is not None else ""
        assert time.monotonic() < until_s, f"not within {timeout_s:g} s\n{tail}"
        time.sleep(0.25)


def _call(cluster: Cluster, image: bytes) -> str:
    """Retries under its idempotency key, as the protocol asks; the answer's request id."""
    headers = {
        "authorization": f"Bearer {cluster.key()}",
        "content-type": "image/png",
        "idempotency-key": uuid.uuid4().hex,
    }
    url = f"{cluster.url}/v1/inspect/{MODEL}"
    for _ in range(240):
        try:
            answer = httpx.post(url, content=image, headers=headers, timeout=60, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.5)
            continue
        if answer.status_code == 200:
            return str(answer.json()["id"])
        assert answer.status_code in TRY_AGAIN, answer.text
        time.sleep(0.5)
    raise AssertionError("no answer after 240 tries")


def _billed(cluster: Cluster) -> list[str]:
    found: list[str] = []
    cursor = "0"
    while True:
        page = cluster.get(f"/v1/usage/events?limit=500&cursor={cursor}")
        assert page.status_code == 200, page.text
        if not page.json():
            return found
        found += [event["id"] for event in page.json()]
        cursor = page.headers["x-xingyue-cursor"]


def test_a_node_killed_under_load_is_survived_and_the_bill_is_right(
    cluster: Cluster, tmp_path: Path
) -> None:
    image = _sample(tmp_path)
    head, second = cluster.nodes
    spread = [len(node.replicas(f"trunk-{TRUNK}")) for node in (head, second)]
    assert spread == [1, 1], f"replicas by node: {spread}"
    assert not _billed(cluster)
    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(_call, cluster, image) for _ in range(CALLS)]
        _until(lambda: sum(call.done() for call in calls) >= CALLS // 10, 120)
        second.kill()
        answered = [call.result() for call in calls]
    assert len(set(answered)) == CALLS
    # One event for each answer, and none besides: both ways.
    assert len(_billed(cluster)) == CALLS
    audit = cluster.get("/admin/v1/trial-balance", "XINGYUE_ADMIN_KEY")
    assert audit.json()["ok"], audit.text
    # What the lost node ran is started anew where there is room: the head's node.
    _until(lambda: len(head.replicas(f"trunk-{TRUNK}")) == 2, 180)
    assert _call(cluster, image)


def _sample(folder: Path) -> bytes:
    (hook,) = entry_points(group="xingyue.samples", name="surface-inspection")
    for path in hook.load()(folder):
        if path.stem == "tile-good":
            return path.read_bytes()
    raise AssertionError("the sample tile-good is gone")
