"""Proof that served peers can be compared: each starts, scores as ``raw`` does (a gateway: records
every call), bears a short load and stops. Brings no platform up."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from xingyue.errors import Internal, XingyueError
from xingyue_benchmarks import bodies, processes
from xingyue_benchmarks.catalogue import ROOT, write_catalogue
from xingyue_benchmarks.kill import killed_under_load
from xingyue_benchmarks.peer_process import raw_spec
from xingyue_benchmarks.raw_model import RawModel
from xingyue_benchmarks.scenario import Scenario
from xingyue_benchmarks.served import served
from xingyue_benchmarks.served_kinds import Kind

TOLERANCE = 1e-3
_WARM_S = 1.0
_RECORDED_S = 30.0


def smoke(
    kinds: list[Kind],
    scenario: Scenario,
    *,
    seconds: float,
    connections: int,
    say: Callable[[str], None],
) -> bool:
    """True if all of ``kinds`` passed; the others are named with the reason."""
    with tempfile.TemporaryDirectory(prefix="xingyue-smoke-") as name:
        home = Path(name)
        (home / "weights").symlink_to(ROOT / ".xingyue" / "weights")
        catalog = write_catalogue(scenario, home / "catalog.yaml")
        spec = raw_spec(scenario, catalog, home)
        spec.write(home / "spec.json")
        images = [body.data for body in bodies.make(scenario, home / "samples")]
        model = RawModel(spec)
        expected = [model(image) for image in images]
        passed = True
        for kind in kinds:
            one = partial(_one, kind, home / "spec.json", images, expected, seconds, connections)
            passed &= _tried(kind, one, say)
        return passed


def smoke_gateways(
    kinds: list[Kind],
    scenario: Scenario,
    *,
    seconds: float,
    connections: int,
    say: Callable[[str], None],
) -> bool:
    """As ``smoke``, for those before a model that does nothing: every answer is in their meter
    within ``_RECORDED_S``, and no more."""
    found = [body.data for body in bodies.make(scenario, Path())]
    passed = True
    for kind in kinds:
        passed &= _tried(kind, partial(_gateway, kind, found, seconds, connections), say)
    return passed


def _tried(
    kind: Kind, one: Callable[[Callable[[str], None]], dict[int, int]], say: Callable[[str], None]
) -> bool:
    try:
        pids = one(say)
    except XingyueError as error:
        say(f"{kind.name}: {error.message}")
        return False
    if left := processes.alive(pids):
        say(f"{kind.name}: left processes behind: {sorted(left)}")
        return False
    return True


def _gateway(
    kind: Kind,
    found: list[bytes],
    seconds: float,
    connections: int,
    say: Callable[[str], None],
) -> dict[int, int]:
    assert kind.recorded is not None, "a gateway has a meter"
    with served(kind, None, found, _WARM_S) as running:
        running.score(0)
        before = _settled(kind.recorded, running.folder)
        taken = running.closed(connections, seconds)
        answered = int(taken.statuses.get("200", 0))
        recorded = _settled(kind.recorded, running.folder) - before
        pids = processes.descendants(running.pid)
        killed = killed_under_load(running, kind.recorded, seconds=seconds, connections=connections)
    say(
        f"{kind.name} {kind.version()}: {recorded} of {answered} answers recorded, "
        f"{taken.throughput_rps:.1f}/s p50 {taken.p50_ms:.1f} ms at {connections} connections, "
        f"answers {dict(taken.statuses)}, {len(pids)} processes, stopped"
    )
    say(
        f"{kind.name}: killed under load it had answered {killed.answered} calls and recorded "
        f"{killed.recorded}"
    )
    if recorded != answered:
        raise Internal(f"its meter has {recorded} calls and it answered {answered}")
    return pids


def _settled(recorded: Callable[[Path], int], folder: Path) -> int:
    """The count, once it has stopped growing: some record after they answer."""
    count, until_s = recorded(folder), time.monotonic() + _RECORDED_S
    while time.monotonic() < until_s:
        time.sleep(1.0)
        if (now := recorded(folder)) == count:
            break
        count = now
    return count


def _one(
    kind: Kind,
    spec: Path,
    images: list[bytes],
    expected: list[float],
    seconds: float,
    connections: int,
    say: Callable[[str], None],
) -> dict[int, int]:
    with served(kind, spec, images, _WARM_S) as running:
        off = max(abs(running.score(n) - right) for n, right in enumerate(expected))
        taken = running.closed(connections, seconds)
        pids = processes.descendants(running.pid)
    verdict = "right" if off <= TOLERANCE else "WRONG"
    say(
        f"{kind.name} {kind.version()}: scores {verdict} (off by {off:.1e} at most), "
        f"{taken.throughput_rps:.1f}/s p50 {taken.p50_ms:.1f} ms at {connections} connections, "
        f"answers {dict(taken.statuses)}, {len(pids)} processes, stopped"
    )
    if off > TOLERANCE:
        raise Internal(f"scores differ from raw's by {off:.2g}, allowed is {TOLERANCE:g}")
    return pids
