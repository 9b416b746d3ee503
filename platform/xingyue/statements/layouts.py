"""Which fields and tables of a form are drawn, in which order: one layout a kind of form.

CSV and PDF draw from these; nothing here knows either. A name ending in ``_micros`` is money.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xingyue.errors import InvalidRequest
from xingyue.statements.forms import Form


@dataclass(frozen=True, slots=True)
class Table:
    """``key`` is the form's field: a list of rows, or a dict of name -> micros."""

    key: str
    columns: tuple[str, ...]
    total: bool = False
    """Whether the money columns are added up under the table."""

    def rows(self, form: Form) -> list[dict[str, Any]]:
        content = form[self.key]
        if isinstance(content, dict):
            name, amount = self.columns
            return [{name: key, amount: value} for key, value in content.items()]
        return list(content)


@dataclass(frozen=True, slots=True)
class Layout:
    facts: tuple[str, ...]
    """Under the title, in this order."""
    tables: tuple[Table, ...]
    default: str
    """The table that a CSV shows where none is asked for."""
    notes: tuple[str, ...] = ()

    def table(self, key: str | None) -> Table:
        """``InvalidRequest`` (``part``) for one that is not there; None: the default."""
        for table in self.tables:
            if table.key == (key or self.default):
                return table
        known = ", ".join(table.key for table in self.tables)
        raise InvalidRequest(f"part is one of {known}; got {key!r}", param="part")


_WHO = ("tenant_id", "tenant_name", "month", "start", "end", "currency", "events")
_USAGE = ("model", "version", "unit", "calls", "units", "average_price", "cost_micros")

LAYOUTS: dict[str, Layout] = {
    "statement": Layout(
        facts=(
            *_WHO,
            "calls",
            "cost_micros",
            "opening_micros",
            "top_ups_micros",
            "charges_micros",
            "reversals_micros",
            "other_micros",
            "closing_micros",
        ),
        tables=(
            Table("lines", _USAGE, total=True),
            Table("payments", ("account", "code", "contract", "amount_micros"), total=True),
            Table("top_ups", ("created_at", "reference", "source", "amount_micros"), total=True),
            Table(
                "accounts",
                ("account", "code", "opening_micros", "in_micros", "out_micros", "closing_micros"),
            ),
            Table("days", ("day", *_USAGE)),
        ),
        default="days",
        notes=("note_booked", "note_utc"),
    ),
    "earnings": Layout(
        facts=(*_WHO, "opening_micros", "earned_micros", "other_micros", "closing_micros"),
        tables=(
            Table(
                "variants",
                ("model", "version", "unit", "calls", "units", "sales_micros", "earned_micros"),
                total=True,
            ),
            Table("months", ("month", "earned_micros"), total=True),
            Table(
                "days",
                ("day", "model", "version", "unit", "calls", "units", "sales_micros",
                 "earned_micros"),
            ),
        ),
        default="days",
        notes=("note_utc",),
    ),
    "revenue": Layout(
        facts=(
            "year",
            "start",
            "end",
            "currency",
            "events",
            "service_micros",
            "cash_paid_micros",
            "voucher_paid_micros",
            "voucher_share_percent",
        ),
        tables=(
            Table("by_model", ("model", "industry", "unit", "calls", "units", "cost_micros"), True),
            Table("by_month", ("month", "amount_micros"), total=True),
            Table("by_industry", ("industry", "amount_micros"), total=True),
            Table("by_tenant_kind", ("tenant_kind", "amount_micros"), total=True),
            Table("by_tenant", ("tenant_id", "tenant_name", "tenant_kind", "amount_micros"), True),
            Table("by_account", ("account", "amount_micros"), total=True),
            Table("by_payment", ("payment", "amount_micros"), total=True),
            Table("funding", ("source", "amount_micros"), total=True),
        ),
        default="by_model",
        notes=("note_revenue", "note_utc"),
    ),
    "evidence": Layout(
        facts=(
            "period",
            "start",
            "end",
            "currency",
            "events",
            "vouchers_count",
            "contracts_count",
            "tenants_count",
            "paid_micros",
            "cost_micros",
            "voucher_share_percent",
        ),
        tables=(
            Table(
                "vouchers",
                ("code", "tenant_id", "contract", "state", "amount_micros", "opening_micros",
                 "in_micros", "paid_micros", "returned_micros", "closing_micros"),
            ),
            Table(
                "contracts",
                ("contract", "tenant_id", "tenant_name", "vouchers_count", "amount_micros",
                 "paid_micros"),
                total=True,
            ),
            Table(
                "usage",
                ("code", "tenant_id", "day", "model", "unit", "calls", "units", "cost_micros",
                 "paid_micros"),
            ),
        ),
        default="vouchers",
        notes=("note_evidence", "note_utc"),
    ),
}  # fmt: skip


def layout_of(form: Form) -> Layout:
    return LAYOUTS[form["object"]]
