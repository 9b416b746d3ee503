"""``xingyue top``: what the gateways do right now, in the terminal."""

from __future__ import annotations

import contextlib
import os
import time
from typing import Annotated, Any

import httpx
import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from xingyue.cli.output import Json, console, emit_json
from xingyue.cli.scrape import Between, Rates, Series, parse, process_of, rates
from xingyue.demo import read_env
from xingyue.settings import Settings
from xingyue_client import ApiError, NoAnswer

_TIMEOUT_S = 5.0
_TRIES_PER_GATEWAY = 4

Seconds = Annotated[float, typer.Option(min=0.2, help="Between two looks.")]
Once = Annotated[bool, typer.Option("--once", help="One look over an interval, then end.")]
Url = Annotated[str | None, typer.Option(help="Of the platform; default: XINGYUE_URL, demo.env.")]


def top(
    interval: Seconds = 2.0, once: Once = False, url: Url = None, as_json: Json = False
) -> None:
    """Live view: calls, latency, batches, units and revenue per model, leases. Ctrl-C ends it."""
    settings = Settings().resolved()
    base = url or _base_url(settings)
    with httpx.Client(base_url=base, timeout=_TIMEOUT_S, headers={"connection": "close"}) as http:
        seen, since_s = look(http, settings.gateway_replicas), time.monotonic()
        if once or as_json:
            time.sleep(interval)
            now = look(http, settings.gateway_replicas)
            found = rates(Between(seen, now, time.monotonic() - since_s))
            missing = readiness(http)
            if as_json:
                emit_json({"ready": not missing, "missing": missing, **found.as_json()})
            else:
                console.print(view(base, found, missing))
            return
        with contextlib.suppress(KeyboardInterrupt), Live(console=console, screen=True) as live:
            live.update(Text(f"{base}: the first numbers come after {interval:g} s"))
            while True:
                time.sleep(interval)
                now, at_s = look(http, settings.gateway_replicas), time.monotonic()
                live.update(view(base, rates(Between(seen, now, at_s - since_s)), readiness(http)))
                seen, since_s = now, at_s


def _base_url(settings: Settings) -> str:
    named = os.environ.get("XINGYUE_URL") or read_env(settings.home).get("XINGYUE_URL")
    return named or f"http://{settings.host}:{settings.port}"


def look(http: httpx.Client, gateways: int) -> dict[float, Series]:
    """Gateway process -> its series. Any gateway answers, so with several it is asked until all
    were met, or for long enough. ``ClientError`` if none answers."""
    met: dict[float, Series] = {}
    for _ in range(gateways * _TRIES_PER_GATEWAY if gateways > 1 else 1):
        series = parse(_get(http, "/metrics").text)
        met.setdefault(process_of(series), series)
        if len(met) >= gateways:
            break
    return met


def readiness(http: httpx.Client) -> list[str]:
    """Models that should serve and do not."""
    answer: dict[str, Any] = _get(http, "/readyz", allow=(200, 503)).json()
    return list(answer.get("missing", []))


def _get(http: httpx.Client, path: str, allow: tuple[int, ...] = (200,)) -> httpx.Response:
    try:
        answer = http.get(path)
    except httpx.HTTPError as error:
        raise NoAnswer(
            f"no answer from {http.base_url}: {error}; is the platform up? (xingyue up)"
        ) from error
    if answer.status_code not in allow:
        raise ApiError(f"{http.base_url}{path.lstrip('/')} answered {answer.status_code}")
    return answer


def view(url: str, now: Rates, missing: list[str]) -> RenderableType:
    """One screen."""
    state = (
        Text("ready", "green") if not missing else Text(f"waits for {', '.join(missing)}", "red")
    )
    head = Text.assemble(
        (f"{url}  ", "bold"), state, f"  {now.gateways} gateway(s), over {now.seconds:.1f} s\n",
        f"calls {now.calls_per_s:.1f}/s of {now.requests_per_s:.1f} requests/s   "
        f"p50 {_ms(now.p50_ms)}  p99 {_ms(now.p99_ms)}  overhead p50 {_ms(now.overhead_p50_ms)}\n",
        f"commits {now.commits_per_s:.1f}/s of {_plain(now.commit_operations)} operations, "
        f"p99 {_ms(now.commit_p99_ms)}   leases {_pairs(now.leases)}\n",
        f"refused/s {_pairs(now.refused_per_s)}",
    )  # fmt: skip
    return Group(head, _models(now), _trunks(now))


def _models(now: Rates) -> Table:
    columns = (
        "model", "calls/s", "failed/s", "mean ms", "queue ms", "compute ms",
        "units/s", "units", "CNY/h", "CNY", "pending",
    )  # fmt: skip
    table = Table(*columns, expand=True)
    for each in now.models:
        table.add_row(
            each.model,
            f"{each.per_s:.1f}",
            f"{each.failed_per_s:.1f}",
            _plain(each.mean_ms),
            _plain(each.queue_ms),
            _plain(each.compute_ms),
            f"{each.units_per_s:.1f}",
            str(each.units),
            f"{each.revenue_micros_per_s * 3600 / 1e6:.2f}",
            f"{each.revenue_micros / 1e6:.4f}",
            str(each.pending),
        )
    return table


def _trunks(now: Rates) -> Table:
    table = Table("trunk", "batches/s", "batch size", "waiting", expand=True)
    for each in now.trunks:
        size, waiting = _plain(each.batch_size), str(each.waiting)
        table.add_row(each.trunk, f"{each.batches_per_s:.1f}", size, waiting)
    return table


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} ms"


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"


def _pairs(counts: dict[str, Any]) -> str:
    return " ".join(f"{name} {value}" for name, value in counts.items()) or "none"
