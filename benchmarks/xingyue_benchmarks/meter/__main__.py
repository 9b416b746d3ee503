"""``python -m xingyue_benchmarks.meter``: measure what the meter costs, write JSON and Markdown."""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from xingyue.errors import NotFound, XingyueError
from xingyue_benchmarks import machine
from xingyue_benchmarks.meter import calls, events, postgres
from xingyue_benchmarks.meter.report import EventsRow, MeterReport

RESULTS = Path(__file__).parents[2] / "results"
CALLERS = (1, 16, 64, 256)
MANY_GATEWAYS = ((2, 128), (3, 85))
"""On PostgreSQL: (gateways, callers in each)."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="xingyue_benchmarks.meter", description=__doc__)
    parser.add_argument("--part", choices=("all", "events", "calls"), default="all")
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scenario", default="noop,image", help="of the calls")
    parser.add_argument("--out", type=Path, help="folder; default: results/<date>-<host>-meter")
    given = parser.parse_args()
    facts = machine.facts() | {"fsync_ms": events.fsync_ms()}
    report = MeterReport(facts, {"seconds": given.seconds, "rounds": given.rounds})
    try:
        if given.part != "calls":
            _events(report, given.seconds, given.rounds)
        if given.part != "events":
            report.costs = calls.measure(
                given.scenario.split(","), seconds=given.seconds, rounds=given.rounds, say=_say
            )
    except XingyueError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    folder = given.out or RESULTS / _folder_name()
    folder.mkdir(parents=True, exist_ok=True)
    document = json.dumps(report.to_json(), indent=1) + "\n"
    (folder / "meter.json").write_text(document, encoding="utf-8")
    page = report.to_markdown()
    (folder / "meter.md").write_text(page, encoding="utf-8")
    _say(f"\n{page}\nresults: {folder}")
    return 0


def _events(report: MeterReport, seconds: float, rounds: int) -> None:
    with ExitStack() as stack:
        loads: list[tuple[EventsRow, Callable[[EventsRow], events.Rate]]] = []

        def on_sqlite(row: EventsRow) -> events.Rate:
            with events.empty_sqlite() as url:
                return events.measure(url, row.gateways, row.callers, seconds)

        loads += [(EventsRow("SQLite", 1, callers), on_sqlite) for callers in CALLERS]
        try:
            server = stack.enter_context(postgres.running())
        except NotFound as error:
            report.absent["PostgreSQL"] = error.message
        else:

            def on_postgres(row: EventsRow) -> events.Rate:
                events.empty_postgres(server)
                return events.measure(server, row.gateways, row.callers, seconds)

            many = [*((1, callers) for callers in CALLERS), *MANY_GATEWAYS]
            loads += [(EventsRow("PostgreSQL", *each), on_postgres) for each in many]
        for number in range(rounds):
            # Forwards and backwards, so that a drift of the machine favours nobody.
            for row, run in loads if number % 2 == 0 else loads[::-1]:
                row.rates.append(run(row))
                _say(
                    f"  {number + 1}: {row.database}, {row.gateways} x {row.callers} callers: "
                    f"{row.rates[-1].events_per_s:,.0f} events/s"
                )
        report.events = [row for row, _ in loads]


def _folder_name() -> str:
    host = re.sub(r"[^A-Za-z0-9-]+", "-", socket.gethostname())
    return f"{datetime.now(UTC).date().isoformat()}-{host}-meter"


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
