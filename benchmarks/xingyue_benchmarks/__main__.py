"""``python -m xingyue_benchmarks``: run scenarios, show results, install and try peers."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from xingyue.errors import InvalidRequest, XingyueError
from xingyue_benchmarks import compare, html_report, install, plots, report, results, smoke
from xingyue_benchmarks.run import run_all
from xingyue_benchmarks.scenario import PEERS, choose_peers, scenarios
from xingyue_benchmarks.served_kinds import KINDS, Kind

RESULTS = Path(__file__).parents[1] / "results"


def write(run: results.Results, folder: Path) -> Path:
    """``results.json``, pictures, ``report.md`` and ``report.html``; the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(run.to_json(), encoding="utf-8")
    path = folder / "report.md"
    text = report.render(run, plots.draw(run, folder))
    path.write_text(text, encoding="utf-8")
    path.with_suffix(".html").write_text(html_report.page(text, folder), encoding="utf-8")
    return path


def main() -> int:
    given = _parser().parse_args()
    try:
        return _COMMANDS[given.command](given)
    except XingyueError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1


def _run(given: argparse.Namespace) -> int:
    chosen = scenarios(given.scenario)
    if given.peers is not None:
        _refuse_absent(given.peers)
        chosen = [choose_peers(each, given.peers) for each in chosen]
    done = run_all(chosen, seconds=given.seconds, rounds=given.rounds, say=_say)
    folder = given.out or RESULTS / _folder_name(done)
    print(f"report: {write(done, folder)}")
    unequal = any(not each.equal for one in done.scenarios for each in one.ledgers())
    return 2 if unequal or not all(one.trial_balance_ok for one in done.scenarios) else 0


def _render(given: argparse.Namespace) -> int:
    print(write(results.read(given.path), given.path.parent))
    return 0


def _compare(given: argparse.Namespace) -> int:
    text = compare.render(results.read(given.first), results.read(given.second))
    print(text)
    if given.html:
        given.html.write_text(html_report.page(text, given.html.parent), encoding="utf-8")
    return 0


def _install(given: argparse.Namespace) -> int:
    failed = install.install(_kinds(given.peers), _say)
    if failed:
        print(f"not installed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _smoke(given: argparse.Namespace) -> int:
    kinds = [kind for kind in _kinds(given.peers) if kind.version() or given.peers]
    _refuse_absent(tuple(kind.name for kind in kinds))
    load = {"seconds": given.seconds, "connections": given.connections}
    image, noop = scenarios("image,openai-noop")
    passed = True
    if servers := [kind for kind in kinds if kind.reads_images]:
        passed &= smoke.smoke(servers, image, **load, say=_say)
    if gateways := [kind for kind in kinds if not kind.reads_images]:
        passed &= smoke.smoke_gateways(gateways, noop, **load, say=_say)
    return 0 if passed else 1


_COMMANDS = {
    "run": _run,
    "render": _render,
    "compare": _compare,
    "install": _install,
    "smoke": _smoke,
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="xingyue_benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="bring up a platform per scenario and load it")
    run.add_argument("--scenario", default="all", help="all, or names with commas between")
    run.add_argument("--seconds", type=_seconds, default=10.0, help="length of one load, 1 to 600")
    run.add_argument("--rounds", type=_rounds, default=3, help="1 to 50")
    run.add_argument("--peers", type=_peers, help=f"of {','.join(PEERS)}; default: all there are")
    run.add_argument("--out", type=Path, help="folder; default: results/<date>-<host>")
    again = commands.add_parser("render", help="write the reports of a results.json anew")
    again.add_argument("path", type=Path)
    two = commands.add_parser("compare", help="two results.json: ratios, and which are noise")
    two.add_argument("first", type=Path)
    two.add_argument("second", type=Path)
    two.add_argument("--html", type=Path, help="write it as a page too")
    put = commands.add_parser("install", help="environments of the served peers")
    put.add_argument("--peers", type=_peers, help="default: all")
    proof = commands.add_parser("smoke", help="start, ask, load and stop served peers")
    proof.add_argument("--peers", type=_peers, help="default: all that are installed")
    proof.add_argument("--seconds", type=_seconds, default=3.0)
    proof.add_argument("--connections", type=int, default=4)
    return parser


def _kinds(names: tuple[str, ...] | None) -> list[Kind]:
    return [kind for kind in KINDS.values() if names is None or kind.name in names]


def _refuse_absent(names: tuple[str, ...]) -> None:
    absent = [name for name in names if name in KINDS and KINDS[name].version() is None]
    if absent:
        raise InvalidRequest(
            f"not installed: {', '.join(absent)}; make bench-peers installs them", param="peers"
        )


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


def _peers(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if strange := sorted(set(names) - set(PEERS)):
        raise argparse.ArgumentTypeError(
            f"no peer {', '.join(strange)}; there are {', '.join(PEERS)}"
        )
    return names


def _rounds(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 50:
        raise argparse.ArgumentTypeError("1 to 50 rounds")
    return value


if __name__ == "__main__":
    sys.exit(main())
