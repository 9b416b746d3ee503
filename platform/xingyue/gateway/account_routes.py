"""A tenant's own account: balance, limits, usage, events."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xingyue.errors import InvalidRequest
from xingyue.gateway.auth import Caller
from xingyue.gateway.services import services_of
from xingyue.gateway.times import parse_time
from xingyue.gateway.voucher_views import voucher_row
from xingyue.ledger.events import to_cloudevents_batch
from xingyue.ledger.reports import UsageRow
from xingyue.tenants.limits import to_json

router = APIRouter(tags=["account"])


@router.get("/v1/account")
async def account(request: Request, principal: Caller) -> dict[str, Any]:
    tenant = principal.tenant
    services = services_of(request)
    balance = await services.meter.balance(tenant.id)
    earned = await asyncio.to_thread(services.reports.earned_micros, tenant.id)
    held = await asyncio.to_thread(services.vouchers.find, tenant_id=tenant.id)
    return {
        "tenant": {"id": tenant.id, "name": tenant.name, "status": tenant.status.value},
        "balance": {
            "cash_micros": balance.cash_micros,
            "held_micros": balance.held_micros,
            "available_micros": balance.available_micros,
            "currency": "CNY",
        },
        "earnings_micros": earned,
        "vouchers": [voucher_row(voucher) for voucher in held],
        "limits": {
            "requests_per_minute": tenant.rate_limit_requests,
            "concurrency_max": tenant.concurrency_max,
            "tenant": to_json(tenant.limits),
            "key": to_json(principal.key.limits),
        },
    }


@router.get("/v1/usage")
async def usage(
    request: Request,
    principal: Caller,
    start: str | None = None,
    end: str | None = None,
    group_by: str = "model",
) -> dict[str, Any]:
    """Totals in `[start, end)`; dates or times of ISO 8601, UTC. Default: the last 30 days."""
    services = services_of(request)
    until = parse_time(end, "end") if end else services.clock.now() + timedelta(seconds=1)
    since = parse_time(start, "start") if start else until - timedelta(days=30)
    if since >= until:
        raise InvalidRequest("end must be later than start", param="end")
    groups = [part.strip() for part in group_by.split(",") if part.strip()]
    rows = await asyncio.to_thread(
        services.reports.usage, principal.tenant.id, since, until, groups
    )
    return {
        "object": "list",
        "start": since.isoformat(),
        "end": until.isoformat(),
        "currency": "CNY",
        "data": [usage_row(row) for row in rows],
        "total_micros": sum(row.cost_micros for row in rows),
    }


@router.get("/v1/usage/events")
async def events(
    request: Request,
    principal: Caller,
    cursor: int = Query(default=0, ge=0, le=2**53),
    limit: int = Query(default=100, ge=1, le=1000),
) -> Response:
    """A CloudEvents 1.0 batch, oldest first. The header `x-xingyue-cursor` is the cursor of the
    next page."""
    recorded = await asyncio.to_thread(
        services_of(request).reports.events, principal.tenant.id, cursor, limit
    )
    following = recorded[-1].cursor if recorded else cursor
    return JSONResponse(
        to_cloudevents_batch(recorded, source="/xingyue/gateway"),
        headers={"x-xingyue-cursor": str(following)},
        media_type="application/cloudevents-batch+json",
    )


def usage_row(row: UsageRow) -> dict[str, Any]:
    return {
        **row.group,
        "unit": row.unit,
        "calls": row.calls,
        "units": row.units,
        "cost_micros": row.cost_micros,
    }
