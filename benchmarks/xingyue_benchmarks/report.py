"""A run as Markdown, for people: what was measured, on what, how far the numbers spread."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from xingyue_benchmarks.results import Results, ScenarioResult
from xingyue_benchmarks.summary import Row, added_p50_ms, base_name, rows, verdicts

_BUSY = 0.5
"""A load average beyond which the machine had other work."""


def render(results: Results, plots: Mapping[str, Sequence[str]] | None = None) -> str:
    """``plots``: scenario's name -> file names beside the report."""
    parts = [_head(results)]
    for each in results.scenarios:
        parts.append(_scenario(each, (plots or {}).get(each.scenario.name, ())))
    return "\n".join(parts)


def _head(results: Results) -> str:
    machine, settings = results.machine, results.settings
    peers = ", ".join(f"{name} {version}" for name, version in machine.get("peers", {}).items())
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    lines = [
        f"# Benchmark of {results.created_at[:10]}",
        "",
        f"- {machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}",
        f"- Python {machine['python']}, SQLite {machine['sqlite']}, {packages}",
        *([f"- peers: {peers}"] if peers else []),
        f"- commit {machine['commit'] or 'unknown'}"
        + (" with local changes" if machine["changed"] else ""),
        f"- {settings['rounds']} rounds of {settings['seconds']:g} s a load, peers and platform in "
        "turn; numbers are medians over rounds, [lowest–highest]",
    ]
    if machine["load_before"] > _BUSY:
        lines.append(
            f"- **The machine was busy before the run (load average {machine['load_before']}): "
            "take ratios with care and absolute numbers not at all.**"
        )
    return "\n".join(lines) + "\n"


def _scenario(result: ScenarioResult, plots: Sequence[str]) -> str:
    scenario = result.scenario
    found = rows(result)
    lines = [f"## {scenario.name}: {scenario.title}", ""]
    lines += [*_throughput(found, base_name(result)), "", *_streamed(found)]
    if result.scenario.peers:
        lines += [_added(result), ""]
    for name, why in result.absent.items():
        lines += [f"{name} was not measured: {why}.", ""]
    lines += [*_targets(result), *_cpu(found), ""]
    lines += [_ledger(result), ""]
    lines += [f"![{name}]({name})" for name in plots]
    return "\n".join(lines) + "\n"


def _streamed(found: list[Row]) -> list[str]:
    """Times of texts; nothing where no answer was streamed."""
    lines = [
        "| target | load | first text p50 ms | p99 ms | between texts p50 ms | p99 ms "
        "| texts an answer |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        if each := row.stream:
            lines.append(
                f"| {row.target} | {row.load} | {each.first_p50_ms.text(0)} | "
                f"{each.first_p99_ms.text(0)} | {each.gap_p50_ms.text(1)} | "
                f"{each.gap_p99_ms.text(1)} | {each.texts_per_answer.text(1)} |"
            )
    return [*lines, ""] if len(lines) > 2 else []


def _throughput(found: list[Row], peer: str | None) -> list[str]:
    lines = [
        f"| target | load | 2xx/s | share of {peer or 'a peer'} | p50 ms | p99 ms | refused |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in found:
        lines.append(
            f"| {row.target} | {row.load} | {row.throughput_rps.text(1)} | {row.share.text(2)} | "
            f"{row.p50_ms.text(1)} | {row.p99_ms.text(1)} | {_percent(row.refused)} |"
        )
    return lines


def _added(result: ScenarioResult) -> str:
    idle = result.idle_cpu
    text = f"One call at a time the platform adds {added_p50_ms(result).text(1)} ms at p50."
    if idle:
        text += (
            f" While a peer ran, the idle platform used {max(idle):.2f} cores at most: so much "
            "the peers' numbers are too low."
        )
    return text


def _targets(result: ScenarioResult) -> list[str]:
    found = verdicts(result)
    if not found:
        return []
    lines = ["| target | wanted | measured | met |", "|---|---|---|---|"]
    lines += [
        f"| {each.what} | {each.wanted} | {each.measured} | {'yes' if each.met else '**no**'} |"
        for each in found
    ]
    return [*lines, ""]


def _cpu(found: list[Row]) -> list[str]:
    parts = list(dict.fromkeys(part for row in found for part in row.cpu_ms))
    lines = [
        "CPU milliseconds per 2xx answer, and memory of all processes together (shared pages count "
        "in each):",
        "",
        f"| target | load | {' | '.join(parts)} | all | MiB |",
        "|---|---|" + "---|" * (len(parts) + 2),
    ]
    for row in found:
        values = [row.cpu_ms.get(part, math.nan) for part in parts]
        total = sum(value for value in values if not math.isnan(value))
        cells = " | ".join("-" if math.isnan(value) else f"{value:.2f}" for value in values)
        memory = "-" if math.isnan(row.rss_bytes) else f"{row.rss_bytes / 2**20:,.0f}"
        lines.append(f"| {row.target} | {row.load} | {cells} | {total:.2f} | {memory} |")
    return lines


def _ledger(result: ScenarioResult) -> str:
    ledgers = result.ledgers()
    answered = sum(each.answered for each in ledgers)
    billed = sum(each.billed for each in ledgers)
    wrong = [each for each in ledgers if not each.equal]
    balance = "balances" if result.trial_balance_ok else "**does not balance**"
    if not wrong:
        return (
            f"Ledger: {answered:,} calls were answered 2xx and {billed:,} usage events recorded, "
            "the same ones by request id, none missing either way, none twice; the double entry "
            f"{balance}."
        )
    return (
        f"**Ledger: {len(wrong)} of {len(ledgers)} loads disagree**: {answered:,} answered, "
        f"{billed:,} billed; {sum(e.unbilled for e in wrong)} answered but not billed, "
        f"{sum(e.unanswered for e in wrong)} billed but not answered, "
        f"{sum(e.twice for e in wrong)} billed twice; the double entry {balance}."
    )


def _percent(part: float) -> str:
    return "-" if math.isnan(part) else f"{part:.1%}" if part else "0"
