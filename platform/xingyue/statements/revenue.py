"""The operator's year: service revenue by month, industry, model, tenant, account and payment.

This is what the yearly settlement and the subsidy ask for: the service revenue, and which part of
it vouchers paid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from xingyue.catalog.spec import Catalog
from xingyue.errors import InvalidRequest
from xingyue.ledger.reports import month_bounds
from xingyue.ledger.tables import transfers, usage_events
from xingyue.statements import booked, names
from xingyue.statements.forms import CURRENCY, Form, moment, percent

FEES = "(fees)"
"""Stands for the model where revenue is not of a call, such as a plan's monthly fee."""


@dataclass(frozen=True, slots=True)
class Earned:
    """Revenue of one month that one account paid to another, for one model."""

    month: str
    payer: str
    payee: str
    model: str
    tenant_id: str
    amount_micros: int
    """Negative for what was reversed."""


def revenue(engine: Engine, catalog: Catalog, year: int) -> Form:
    """Service revenue of a calendar year (UTC): what went from tenants and vouchers to the
    platform, vendors and data providers, less what went back. Every breakdown adds up to
    ``service_micros``. Payments *into* accounts are no revenue; ``funding`` tells them apart."""
    if not 2000 <= year <= 9998:
        raise InvalidRequest(f"year must be within 2000..9998, got {year}", param="year")
    start, end = datetime(year, 1, 1, tzinfo=UTC), datetime(year + 1, 1, 1, tzinfo=UTC)
    with booked.one_state(engine) as connection:
        found = [
            each for month in range(1, 13) for each in _month(connection, f"{year}-{month:02d}")
        ]
        used = _used(connection, start, end)
        funding = _funding(connection, start, end)
        tenant_names = names.tenant_names(connection)
        kind_of = names.tenant_kinds(connection)
        industry_of = names.industries(connection, catalog)
    industries = {FEES: FEES}

    def industry(model: str) -> str:
        return industries.get(model) or industry_of(model)

    total = sum(each.amount_micros for each in found)
    paid = _sums(found, lambda each: booked.label_of(each.payer).partition(":")[0])
    by_month = {f"{year}-{month:02d}": 0 for month in range(1, 13)}
    by_month |= _sums(found, lambda each: each.month)
    return {
        "object": "revenue",
        "year": year,
        "start": moment(start),
        "end": moment(end),
        "currency": CURRENCY,
        "events": sum(line.events for line in used),
        "service_micros": total,
        "voucher_paid_micros": paid.get("voucher", 0),
        "cash_paid_micros": total - paid.get("voucher", 0),
        "voucher_share_percent": percent(paid.get("voucher", 0), total),
        "by_month": by_month,
        "by_industry": _sums(found, lambda each: industry(each.model)),
        "by_tenant_kind": _sums(found, lambda each: kind_of(each.tenant_id).value),
        "by_account": _sums(found, lambda each: each.payee),
        "by_payment": paid,
        "by_model": _models(found, used, industry),
        "by_tenant": [
            {
                "tenant_id": tenant,
                "tenant_name": tenant_names.get(tenant, tenant),
                "tenant_kind": kind_of(tenant).value,
                "amount_micros": amount,
            }
            for tenant, amount in _sums(found, lambda each: each.tenant_id).items()
        ],
        "funding": funding,
    }


def _month(connection: Connection, month: str) -> list[Earned]:
    start, end = month_bounds(month)
    found = []
    event = usage_events.c
    sides = (
        (transfers.c.debit, transfers.c.credit, 1),
        (transfers.c.credit, transfers.c.debit, -1),
    )
    for payer, payee, sign in sides:
        rows = connection.execute(
            select(payer, payee, event.model, event.tenant_id, func.sum(transfers.c.amount_micros))
            .select_from(transfers.outerjoin(usage_events, event.id == transfers.c.event_id))
            .where(
                booked.within(start, end),
                payer.startswith("tenant:") | payer.startswith("voucher:"),
                booked.is_earning(payee),
            )
            .group_by(payer, payee, event.model, event.tenant_id)
        )
        for source, target, model, tenant, amount in rows:
            tenant = tenant or source.split(":")[1]
            found.append(Earned(month, source, target, model or FEES, tenant, sign * int(amount)))
    return found


def _used(connection: Connection, start: datetime, end: datetime) -> list[booked.UsageLine]:
    """Of all tenants, as a statement counts it."""
    paid = (
        select(transfers.c.event_id, func.min(transfers.c.created_at).label("at"))
        .where(booked.within(start, end), transfers.c.event_id.is_not(None))
        .group_by(transfers.c.event_id)
        .subquery()
    )
    event = usage_events.c
    return booked.sum_usage(
        connection,
        (
            (
                usage_events.join(paid, paid.c.event_id == event.id),
                paid.c.at,
                event.cost_micros != 0,
            ),
            (usage_events, event.created_at, booked.free_within(start, end)),
        ),
    )


def _models(
    found: list[Earned], used: list[booked.UsageLine], industry: Callable[[str], str]
) -> list[dict[str, Any]]:
    """By model and unit; fees on a line of their own, so that the column adds up to the year."""
    sums: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    for line in used:
        total = sums[line.model, line.unit]
        for i, value in enumerate((line.calls, line.units, line.cost_micros)):
            total[i] += value
    fees = sum(each.amount_micros for each in found if each.model == FEES)
    if fees:
        sums[FEES, "month"][2] = fees
    return [
        {
            "model": model,
            "industry": industry(model),
            "unit": unit,
            "calls": calls,
            "units": units,
            "cost_micros": cost,
        }
        for (model, unit), (calls, units, cost) in sorted(sums.items())
    ]


def _funding(connection: Connection, start: datetime, end: datetime) -> dict[str, int]:
    """What came in by source, less what went back there."""
    sums: defaultdict[str, int] = defaultdict(int)
    for side, sign in ((transfers.c.debit, 1), (transfers.c.credit, -1)):
        rows = connection.execute(
            select(side, func.sum(transfers.c.amount_micros))
            .where(booked.within(start, end), side.startswith("funding:"))
            .group_by(side)
        )
        for account, amount in rows:
            sums[account.removeprefix("funding:")] += sign * int(amount)
    return dict(sorted(sums.items()))


def _sums(found: list[Earned], key: Callable[[Earned], str]) -> dict[str, int]:
    sums: defaultdict[str, int] = defaultdict(int)
    for each in found:
        sums[key(each)] += each.amount_micros
    return dict(sorted(sums.items()))
