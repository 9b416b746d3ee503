"""``python -m xingyue_benchmarks.tuning PART --data ../shared/data``: on a platform of its own.

times       one-class on 20, 60 and 120 good parts, classes on 360 images: from the request that
            creates the job to the variant's first answer
accuracy    the known sets, folds by group: fitted by the job API, held-out images answered by the
            call API
starvation  calls at 16 connections with a job running beside them, and without, in turn
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from xingyue.demo import read_env
from xingyue.errors import XingyueError
from xingyue_benchmarks import machine
from xingyue_benchmarks.catalogue import write_catalogue
from xingyue_benchmarks.deployment import deployed
from xingyue_benchmarks.scenario import FOLDER, load_scenario
from xingyue_benchmarks.tuning import parts
from xingyue_client import ClientError, Xingyue

PARTS = {"times": parts.times, "accuracy": parts.accuracy, "starvation": parts.starvation}


def main() -> int:
    parser = argparse.ArgumentParser(prog="xingyue_benchmarks.tuning", description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--data", type=Path, required=True, help="folder of the known sets")
    parser.add_argument("--sets", nargs="*", default=[], help="of accuracy; default: all")
    parser.add_argument("--seconds", type=float, default=10.0, help="of one load of starvation")
    parser.add_argument(
        "--folds-run", type=int, choices=range(1, parts.FOLDS + 1), default=1, help="of accuracy"
    )
    parser.add_argument("--out", type=Path, help="a JSON file for the numbers")
    given = parser.parse_args()
    try:
        found = _run(given)
    except (XingyueError, ClientError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    if given.out is not None:
        document = {"machine": machine.facts(), given.part: found}
        given.out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    return 0


def _run(given: argparse.Namespace) -> list[dict[str, Any]]:
    scenario = load_scenario(FOLDER / "surface.yaml")
    with tempfile.TemporaryDirectory(prefix="xingyue-bench-") as name:
        home = Path(name)
        write_catalogue(scenario, home / "catalog.yaml")
        with deployed(scenario, home, home / "catalog.yaml") as deployment:
            key = read_env(home)["XINGYUE_API_KEY"]
            with Xingyue(deployment.url, key, timeout_s=120) as vendor:
                options = parts.Options(given.sets, given.seconds, given.folds_run)
                bench = parts.Bench(deployment, scenario, vendor, given.data)
                return PARTS[given.part](bench, options)


if __name__ == "__main__":
    sys.exit(main())
