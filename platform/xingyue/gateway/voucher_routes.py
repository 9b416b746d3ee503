"""``/admin/v1/vouchers``: compute vouchers (算力券) issued, assigned, revoked, listed."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from xingyue.errors import InvalidRequest
from xingyue.gateway.auth import Operator
from xingyue.gateway.services import Services, services_of
from xingyue.gateway.voucher_views import BATCH_MAX, VoucherIssue, read_batch, voucher_row
from xingyue.vouchers.models import VoucherState

router = APIRouter(prefix="/admin/v1/vouchers", tags=["admin"])


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")

    vouchers: list[VoucherIssue]


class Assignment(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant_id: str


@router.post("", status_code=201)
async def issue(request: Request, operator: Operator, body: Batch) -> dict[str, Any]:
    """All of them or none. Idempotent by `code`."""
    if not 1 <= len(body.vouchers) <= BATCH_MAX:
        raise InvalidRequest(
            f"a batch holds 1 to {BATCH_MAX} vouchers, got {len(body.vouchers)}", param="vouchers"
        )
    return await _issue(services_of(request), body.vouchers)


@router.post("/batches/{batch}", status_code=201)
async def issue_batch(request: Request, operator: Operator, batch: str) -> dict[str, Any]:
    """The body is a CSV with a header row: `code`, `amount` (CNY) or `amount_micros`,
    `valid_until`, and optionally `valid_from`, `tenant_id`, `models`, `industries` (separated by
    blanks), `share_percent`, `unaffiliated_only`, `contract`. All of them or none."""
    try:
        text = (await request.body()).decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the CSV is not UTF-8 (byte {error.start}); save it as UTF-8", param="body"
        ) from error
    return await _issue(services_of(request), read_batch(text, batch))


@router.get("")
async def find(
    request: Request,
    operator: Operator,
    tenant_id: str | None = None,
    status: str | None = None,
    batch: str | None = None,
) -> dict[str, Any]:
    """First expiring first."""
    try:
        state = None if status is None else VoucherState(status)
    except ValueError as error:
        raise InvalidRequest(
            f"status is one of {', '.join(VoucherState)}, got {status!r}", param="status"
        ) from error
    store = services_of(request).vouchers
    found = await asyncio.to_thread(store.find, tenant_id=tenant_id, state=state, batch=batch)
    return {"object": "list", "data": [voucher_row(voucher) for voucher in found]}


@router.get("/{code}")
async def show(request: Request, operator: Operator, code: str) -> dict[str, Any]:
    return voucher_row(await asyncio.to_thread(services_of(request).vouchers.get, code))


@router.post("/{code}/assign")
async def assign(
    request: Request, operator: Operator, code: str, body: Assignment
) -> dict[str, Any]:
    """Once and for all: what is assigned can be revoked, never moved to another tenant."""
    services = services_of(request)
    await asyncio.to_thread(services.tenants.get_tenant, body.tenant_id)
    assigned = await asyncio.to_thread(services.vouchers.assign, code, body.tenant_id)
    services.terms.forget()
    return voucher_row(assigned)


@router.post("/{code}/revoke")
async def revoke(request: Request, operator: Operator, code: str) -> dict[str, Any]:
    """It pays nothing more; what is left goes back. Calls in progress end as they were admitted."""
    services = services_of(request)
    revoked = await asyncio.to_thread(services.vouchers.revoke, code)
    services.terms.forget()
    return voucher_row(revoked)


async def _issue(services: Services, issues: list[VoucherIssue]) -> dict[str, Any]:
    now = services.clock.now()
    new = [each.to_new(now) for each in issues]
    for each in new:
        if each.conditions.valid_until <= now:
            raise InvalidRequest(
                f"voucher {each.code} has expired already: valid_until lies in the past",
                param="valid_until",
            )
    for tenant_id in sorted({each.tenant_id for each in new if each.tenant_id}):
        await asyncio.to_thread(services.tenants.get_tenant, tenant_id)
    issued, count = await asyncio.to_thread(services.vouchers.issue, new)
    services.terms.forget()
    return {
        "object": "list",
        "issued": count,
        "data": [voucher_row(voucher) for voucher in issued],
    }
