"""``python -m xingyue_benchmarks``: run scenarios, or render a result again."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from xingyue.errors import XingyueError
from xingyue_benchmarks import plots, report, results
from xingyue_benchmarks.run import run_all
from xingyue_benchmarks.scenario import scenarios

RESULTS = Path(__file__).parents[1] / "results"


def write(run: results.Results, folder: Path) -> Path:
    """``results.json``, pictures and ``report.md``; the report's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(run.to_json(), encoding="utf-8")
    path = folder / "report.md"
    path.write_text(report.render(run, plots.draw(run, folder)), encoding="utf-8")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="xingyue_benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="bring up a platform per scenario and load it")
    run.add_argument("--scenario", default="all", help="all, or names with commas between")
    run.add_argument("--seconds", type=_seconds, default=10.0, help="length of one load, 1 to 600")
    run.add_argument("--rounds", type=_rounds, default=3, help="1 to 50")
    run.add_argument("--out", type=Path, help="folder; default: results/<date>-<host>")
    again = commands.add_parser("render", help="write report and pictures of a results.json anew")
    again.add_argument("path", type=Path)
    given = parser.parse_args()
    try:
        if given.command == "render":
            print(write(results.read(given.path), given.path.parent))
            return 0
        chosen = scenarios(given.scenario)
        done = run_all(chosen, seconds=given.seconds, rounds=given.rounds, say=_say)
        folder = given.out or RESULTS / _folder_name(done)
        print(f"report: {write(done, folder)}")
    except XingyueError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    unequal = any(not each.equal for one in done.scenarios for each in one.ledgers())
    return 2 if unequal or not all(one.trial_balance_ok for one in done.scenarios) else 0


def _folder_name(done: results.Results) -> str:
    host = re.sub(r"[^A-Za-z0-9-]+", "-", str(done.machine["host"]))
    return f"{done.created_at[:10]}-{host}"


def _say(text: str) -> None:
    print(text, flush=True)


def _seconds(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 600:
        raise argparse.ArgumentTypeError("1 to 600 seconds")
    return value


def _rounds(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 50:
        raise argparse.ArgumentTypeError("1 to 50 rounds")
    return value


if __name__ == "__main__":
    sys.exit(main())
