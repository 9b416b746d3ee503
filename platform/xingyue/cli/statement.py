"""``statement``, ``earnings``, ``report``: what was used, earned and taken in."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from xingyue.cli import access
from xingyue.cli.output import Json, console, emit_json, emit_rows
from xingyue.units import format_cny
from xingyue_client import Xingyue

report = typer.Typer(help="The operator's reports.", no_args_is_help=True)


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"
    PDF = "pdf"


class Lang(StrEnum):
    ZH = "zh"
    EN = "en"


_ACCEPT = {
    Format.JSON: "application/json",
    Format.CSV: "text/csv",
    Format.PDF: "application/pdf",
}

FormatOption = Annotated[
    Format | None, typer.Option("--format", help="Write a file of this form instead of a table.")
]
LangOption = Annotated[Lang | None, typer.Option(help="Of a PDF or a CSV's header.")]
PartOption = Annotated[str | None, typer.Option(help="Which table a CSV holds.")]
OutOption = Annotated[Path | None, typer.Option(help="The file; default: a name of its own here.")]
Month = Annotated[str, typer.Argument(help="yyyy-mm, UTC.")]


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a report is wanted; ``name`` is the file's, without its ending."""

    name: str
    form: Format | None
    lang: Lang | None
    part: str | None
    out: Path | None
    as_json: bool

    def of(self, client: Xingyue, path: str, **query: Any) -> dict[str, Any] | None:
        """The report, to be shown as tables; None where it was written or printed as asked."""
        if self.form is None:
            done: dict[str, Any] = client.get(path, **query)
            if not self.as_json:
                return done
            emit_json(done)
            return None
        given = query | {"lang": self.lang, "part": self.part}
        content = client.download(path, _ACCEPT[self.form], **given)
        _write(self.out or Path(f"{self.name}.{self.form.value}"), content)
        return None


def statement(
    month: Month,
    form: FormatOption = None,
    lang: LangOption = None,
    part: PartOption = None,
    out: OutOption = None,
    as_json: Json = False,
) -> None:
    """A month's use, what paid for it, and the balance that it leaves."""
    asked = _Asked(f"statement-{month}", form, lang, part, out, as_json)
    done = asked.of(access.caller(), f"/v1/statements/{month}")
    if done is None:
        return
    _rows(done["lines"], ["model", "version", "unit", "calls", "units"], ["cost_micros"])
    _rows(done["payments"], ["account", "code"], ["amount_micros"])
    _facts(done, ("opening", "top_ups", "charges", "reversals", "other", "closing"))


def earnings(
    month: Month,
    form: FormatOption = None,
    lang: LangOption = None,
    part: PartOption = None,
    out: OutOption = None,
    as_json: Json = False,
) -> None:
    """What your variants earned in a month."""
    asked = _Asked(f"earnings-{month}", form, lang, part, out, as_json)
    done = asked.of(access.caller(), f"/v1/earnings/{month}")
    if done is None:
        return
    names = ["model", "version", "unit", "calls", "units"]
    _rows(done["variants"], names, ["sales_micros", "earned_micros"])
    _facts(done, ("opening", "earned", "other", "closing"))


@report.command("revenue")
def revenue(
    year: Annotated[int, typer.Option(help="Calendar year, UTC.")],
    form: FormatOption = None,
    lang: LangOption = None,
    part: PartOption = None,
    out: OutOption = None,
    as_json: Json = False,
) -> None:
    """A year's service revenue, and which part of it vouchers paid."""
    asked = _Asked(f"revenue-{year}", form, lang, part, out, as_json)
    done = asked.of(access.operator(), "/admin/v1/reports/revenue", year=year)
    if done is None:
        return
    _rows(done["by_model"], ["model", "industry", "unit", "calls", "units"], ["cost_micros"])
    months = [{"month": name, "amount_micros": net} for name, net in done["by_month"].items()]
    _rows(months, ["month"], ["amount_micros"])
    _facts(done, ("service", "cash_paid", "voucher_paid"))


@report.command("evidence")
def evidence(
    period: Annotated[str, typer.Option(help="yyyy-mm, UTC.")],
    lang: Lang = Lang.ZH,
    out: OutOption = None,
) -> None:
    """The evidence pack (核销材料) of a month's vouchers, as a zip."""
    content = access.operator().download(
        "/admin/v1/vouchers/evidence", period=period, lang=lang.value
    )
    _write(out or Path(f"voucher-evidence-{period}.zip"), content)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    console.print(f"{path}: {len(content)} bytes", soft_wrap=True)


def _rows(rows: list[dict[str, Any]], names: list[str], money: list[str]) -> None:
    shown = [row | {name: format_cny(row[name]) for name in money} for row in rows]
    emit_rows(shown, [*names, *money], as_json=False)


def _facts(done: dict[str, Any], names: tuple[str, ...]) -> None:
    for name in names:
        amount = format_cny(done[f"{name}_micros"])
        console.print(f"{name.replace('_', ' ')}: {amount}", highlight=False)
