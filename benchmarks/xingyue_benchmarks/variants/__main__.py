"""``python -m xingyue_benchmarks.variants PART``: run one part, write JSON and a picture."""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

# One thread, as the trunk's catalogue entry has: before anything that reads it is imported.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from xingyue.errors import XingyueError  # noqa: E402
from xingyue.storage.embedded import EmbeddedS3  # noqa: E402
from xingyue.storage.s3 import S3Store  # noqa: E402
from xingyue_benchmarks import machine  # noqa: E402
from xingyue_benchmarks.variants import heads, plots  # noqa: E402
from xingyue_benchmarks.variants.engine import Bench  # noqa: E402

FORMAT = "xingyue-variants/1"
RESULTS = Path(__file__).parents[2] / "results"


def main() -> int:
    parser = argparse.ArgumentParser(prog="xingyue_benchmarks.variants", description=__doc__)
    parser.add_argument("part", choices=("engine", "platform", "multiplexed"))
    parser.add_argument("--counts", type=_counts, default=[1, 10, 100, 1000])
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--out", type=Path, help="folder; default: results/<date>-<host>-variants")
    given = parser.parse_args()
    try:
        document = _run(given)
    except XingyueError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    folder = given.out or RESULTS / _folder_name()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "variants.json"
    if path.exists():
        # The parts may be measured one after another; each replaces its own numbers.
        document = json.loads(path.read_text(encoding="utf-8")) | document
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    plots.draw(document, folder / "variants.png")
    print(f"results: {path}")
    return 0


def _run(given: argparse.Namespace) -> dict[str, Any]:
    document: dict[str, Any] = {"format": FORMAT, "machine": machine.facts()}
    with tempfile.TemporaryDirectory(prefix="xingyue-variants-") as name:
        home = Path(name)
        if given.part == "engine":
            document["engine"] = _engine(given, home)
        elif given.part == "multiplexed":
            from xingyue_benchmarks.variants import multiplexed

            document["multiplexed"] = multiplexed.run(
                given.counts, given.seconds, given.rounds, _say
            )
        else:
            from xingyue_benchmarks.variants import platform

            document["platform"] = platform.run(
                home,
                counts=given.counts,
                tenants=given.tenants,
                seconds=given.seconds,
                rounds=given.rounds,
                say=_say,
            )
    return document


def _engine(given: argparse.Namespace, home: Path) -> dict[str, Any]:
    server = EmbeddedS3(home / "s3", _free_port())
    objects = S3Store(server.start())
    try:
        _say(f"storing {given.counts[-1]} heads of {given.tenants} tenants")
        refs = heads.store(objects, given.tenants, range(given.counts[-1]))
        bench = Bench(objects, home / "cache", refs)
        report = bench.run(
            counts=given.counts, seconds=given.seconds, rounds=given.rounds, say=_say
        )
    finally:
        server.stop()
    return report.to_json()


def _counts(text: str) -> list[int]:
    counts = sorted({int(part) for part in text.split(",")})
    if counts[0] != 1 or len(counts) < 2 or counts[-1] > 100_000:
        raise argparse.ArgumentTypeError("numbers with commas between, 1 among them")
    return counts


def _folder_name() -> str:
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())
    return f"{datetime.now(UTC).date().isoformat()}-{host}-variants"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
