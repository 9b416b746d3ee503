"""Proof that served peers can be compared: each starts, scores as ``raw`` does, bears a short load
and stops. Brings no platform up."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from xingyue.errors import Internal, XingyueError
from xingyue_benchmarks import bodies, processes
from xingyue_benchmarks.catalogue import ROOT, write_catalogue
from xingyue_benchmarks.peer_process import raw_spec
from xingyue_benchmarks.raw_model import RawModel
from xingyue_benchmarks.scenario import Scenario
from xingyue_benchmarks.served import served
from xingyue_benchmarks.served_kinds import Kind

TOLERANCE = 1e-3
_WARM_S = 1.0


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
            try:
                pids = _one(kind, home / "spec.json", images, expected, seconds, connections, say)
            except XingyueError as error:
                say(f"{kind.name}: {error.message}")
                passed = False
                continue
            if left := processes.alive(pids):
                say(f"{kind.name}: left processes behind: {sorted(left)}")
                passed = False
        return passed


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
