"""A tenant's month: usage by model and day, what paid for it, and the balance that it leaves."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, select

from xingyue.ledger import accounts
from xingyue.ledger.reports import month_bounds
from xingyue.ledger.tables import transfers
from xingyue.statements import booked
from xingyue.statements.forms import CURRENCY, Form, average_price, moment
from xingyue.statements.names import tenant_names
from xingyue.vouchers.tables import vouchers


def statement(engine: Engine, tenant_id: str, month: str) -> Form:
    """``month`` as ``yyyy-mm``, UTC. Of cash: opening + top_ups - charges + reversals + other =
    closing, to the micro; of every account: opening + its movements = closing.

    The form of a month that is over never changes again, whatever is booked later.
    """
    start, end = month_bounds(month)
    with booked.one_state(engine) as connection:
        names = booked.accounts_of(connection, tenant_id)
        lines = booked.usage(connection, tenant_id, list(names), start, end)
        paid = booked.payments(connection, names, start, end)
        accounts_ = booked.movements(connection, names, start, end)
        top_ups = _top_ups(connection, tenant_id, start, end)
        facts = _voucher_facts(connection, tenant_id)
        name = tenant_names(connection).get(tenant_id, tenant_id)
    cash = accounts_[0]
    known = ("top_up", "charge", "reversal")
    return {
        "object": "statement",
        "tenant_id": tenant_id,
        "tenant_name": name,
        "month": month,
        "start": moment(start),
        "end": moment(end),
        "currency": CURRENCY,
        "events": sum(line.events for line in lines),
        "calls": sum(line.calls for line in lines),
        "cost_micros": sum(line.cost_micros for line in lines),
        "opening_micros": cash.opening_micros,
        "top_ups_micros": cash.by_kind.get("top_up", 0),
        "charges_micros": -cash.by_kind.get("charge", 0),
        "reversals_micros": cash.by_kind.get("reversal", 0),
        "other_micros": sum(net for kind, net in cash.by_kind.items() if kind not in known),
        "closing_micros": cash.closing_micros,
        "lines": by_model(lines),
        "days": [usage_row(line) for line in lines],
        "payments": [
            {"account": label, **facts.get(label, {}), "amount_micros": amount}
            for label, amount in paid.items()
        ],
        "top_ups": top_ups,
        "accounts": [
            {"account": each.label, **facts.get(each.label, {}), **_movement(each)}
            for each in accounts_
            if each.label == booked.CASH or each.opening_micros or each.by_kind
        ],
    }


def usage_row(line: booked.UsageLine) -> dict[str, Any]:
    return {
        "day": line.day,
        "model": line.model,
        "version": line.version,
        "unit": line.unit,
        "calls": line.calls,
        "units": line.units,
        "average_price": average_price(line.cost_micros, line.units),
        "cost_micros": line.cost_micros,
    }


def by_model(lines: list[booked.UsageLine]) -> list[dict[str, Any]]:
    """The days added up."""
    sums: defaultdict[tuple[str, str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for line in lines:
        total = sums[line.model, line.version, line.unit]
        for i, value in enumerate((line.calls, line.units, line.cost_micros)):
            total[i] += value
    return [
        {
            "model": model,
            "version": version,
            "unit": unit,
            "calls": calls,
            "units": units,
            "average_price": average_price(cost, units),
            "cost_micros": cost,
        }
        for (model, version, unit), (calls, units, cost) in sorted(sums.items())
    ]


def _movement(each: booked.Movements) -> dict[str, Any]:
    """In and out apart, by whatever kinds the ledger knows."""
    into = sum(net for net in each.by_kind.values() if net > 0)
    out = -sum(net for net in each.by_kind.values() if net < 0)
    return {
        "opening_micros": each.opening_micros,
        "in_micros": into,
        "out_micros": out,
        "by_kind": each.by_kind,
        "closing_micros": each.closing_micros,
    }


def _top_ups(
    connection: Connection, tenant_id: str, start: datetime, end: datetime
) -> list[dict[str, Any]]:
    rows = connection.execute(
        select(transfers)
        .where(
            transfers.c.credit == accounts.cash(tenant_id),
            transfers.c.kind == "top_up",
            booked.within(start, end),
        )
        .order_by(transfers.c.id)
    )
    return [
        {
            "created_at": moment(row.created_at),
            "reference": row.reference,
            "source": row.debit.removeprefix("funding:"),
            "amount_micros": row.amount_micros,
        }
        for row in rows
    ]


def _voucher_facts(connection: Connection, tenant_id: str) -> dict[str, dict[str, Any]]:
    """Label -> what is printed on the voucher."""
    rows = connection.execute(
        select(vouchers.c.id, vouchers.c.code, vouchers.c.contract).where(
            vouchers.c.tenant_id == tenant_id
        )
    )
    return {f"voucher:{row.id}": {"code": row.code, "contract": row.contract} for row in rows}
