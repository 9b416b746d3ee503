"""``/admin/v1``: tenants, keys, top-ups. Every route needs a key of scope ``admin``."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from xingyue.gateway.auth import Operator
from xingyue.gateway.services import services_of
from xingyue.ledger.audit import trial_balance
from xingyue.tenants.limits import parse, to_json
from xingyue.tenants.tenant import ApiKey, Tenant, TenantStatus

router = APIRouter(prefix="/admin/v1", tags=["admin"])


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Limits(_Body):
    rate_limit_requests: int | None = None
    concurrency_max: int | None = None
    allow_noncommercial: bool | None = None
    group: str | None = None
    limits: dict[str, Any] | None = None


class NewTenant(Limits):
    id: str
    name: str


class TenantChange(Limits):
    name: str | None = None
    status: str | None = None


class NewKey(_Body):
    name: str
    scopes: list[str] = Field(default_factory=lambda: ["call"])
    models: list[str] | None = None
    limits: dict[str, Any] | None = None


class KeyLimits(_Body):
    limits: dict[str, Any]


class TopUp(_Body):
    amount_micros: int
    reference: str


def _tenant(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "name": tenant.name,
        "status": tenant.status.value,
        "created_at": tenant.created_at.isoformat(),
        "rate_limit_requests": tenant.rate_limit_requests,
        "concurrency_max": tenant.concurrency_max,
        "allow_noncommercial": tenant.allow_noncommercial,
        "group": tenant.group,
        "limits": to_json(tenant.limits),
    }


def _key(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant_id": key.tenant_id,
        "name": key.name,
        "prefix": key.prefix,
        "scopes": sorted(scope.value for scope in key.scopes),
        "models": sorted(key.models) if key.models is not None else None,
        "limits": to_json(key.limits),
        "created_at": key.created_at.isoformat(),
        "revoked_at": key.revoked_at.isoformat() if key.revoked_at else None,
    }


def _given(body: Limits) -> dict[str, Any]:
    given = body.model_dump(exclude_none=True, exclude={"id"})
    if "limits" in given:
        given["limits"] = parse(given["limits"])
    return given


@router.post("/tenants", status_code=201)
async def create_tenant(request: Request, operator: Operator, body: NewTenant) -> dict[str, Any]:
    """Idempotent by `id`."""
    limits = _given(body)
    name = limits.pop("name")
    tenants = services_of(request).tenants
    return _tenant(await asyncio.to_thread(tenants.ensure_tenant, body.id, name, **limits))


@router.get("/tenants")
async def list_tenants(request: Request, operator: Operator) -> dict[str, Any]:
    found = await asyncio.to_thread(services_of(request).tenants.list_tenants)
    return {"object": "list", "data": [_tenant(tenant) for tenant in found]}


@router.get("/tenants/{tenant_id}")
async def show_tenant(request: Request, operator: Operator, tenant_id: str) -> dict[str, Any]:
    services = services_of(request)
    tenant = await asyncio.to_thread(services.tenants.get_tenant, tenant_id)
    balance = await services.meter.balance(tenant_id)
    money = {"cash_micros": balance.cash_micros, "held_micros": balance.held_micros}
    return _tenant(tenant) | {"balance": money | {"available_micros": balance.available_micros}}


@router.patch("/tenants/{tenant_id}")
async def change_tenant(
    request: Request, operator: Operator, tenant_id: str, body: TenantChange
) -> dict[str, Any]:
    services = services_of(request)
    changed = await asyncio.to_thread(services.tenants.update_tenant, tenant_id, **_given(body))
    services.directory.forget()
    if changed.status is TenantStatus.SUSPENDED:
        # Its S3 key pair does not come by this gateway, so it must go too.
        await asyncio.to_thread(services.storage_access.close, tenant_id)
    return _tenant(changed)


@router.post("/tenants/{tenant_id}/keys", status_code=201)
async def issue_key(
    request: Request, operator: Operator, tenant_id: str, body: NewKey
) -> dict[str, Any]:
    """The secret is in this answer and nowhere else, ever again."""

    def issue() -> tuple[ApiKey, str]:
        return services_of(request).tenants.issue_key(
            tenant_id,
            name=body.name,
            scopes=body.scopes,
            models=body.models,
            limits=parse(body.limits),
        )

    key, secret = await asyncio.to_thread(issue)
    return _key(key) | {"secret": secret}


@router.get("/tenants/{tenant_id}/keys")
async def list_keys(request: Request, operator: Operator, tenant_id: str) -> dict[str, Any]:
    tenants = services_of(request).tenants
    await asyncio.to_thread(tenants.get_tenant, tenant_id)
    found = await asyncio.to_thread(tenants.list_keys, tenant_id)
    return {"object": "list", "data": [_key(key) for key in found]}


@router.patch("/tenants/{tenant_id}/keys/{key_id}")
async def limit_key(
    request: Request, operator: Operator, tenant_id: str, key_id: str, body: KeyLimits
) -> dict[str, Any]:
    """Set its limits anew, all of them: what is left out is not limited any more. In force here at
    once, within seconds on other gateways."""
    services = services_of(request)
    limits = parse(body.limits)
    changed = await asyncio.to_thread(
        services.tenants.limit_key, key_id, limits, tenant_id=tenant_id
    )
    services.directory.forget()
    return _key(changed)


@router.delete("/tenants/{tenant_id}/keys/{key_id}")
async def revoke_key(
    request: Request, operator: Operator, tenant_id: str, key_id: str
) -> dict[str, Any]:
    """Refused at once here, within seconds by other gateways."""
    services = services_of(request)
    revoked = await asyncio.to_thread(services.tenants.revoke_key, key_id, tenant_id=tenant_id)
    services.directory.forget()
    return _key(revoked)


@router.post("/tenants/{tenant_id}/topups", status_code=201)
async def top_up(
    request: Request, operator: Operator, tenant_id: str, body: TopUp
) -> dict[str, Any]:
    """Idempotent by `reference`: the same one twice is booked once."""
    services = services_of(request)
    await asyncio.to_thread(services.tenants.get_tenant, tenant_id)
    await asyncio.to_thread(services.ledger.top_up, tenant_id, body.amount_micros, body.reference)
    balance = await services.meter.balance(tenant_id)
    return {"tenant_id": tenant_id, "available_micros": balance.available_micros}


@router.get("/trial-balance")
async def trial(request: Request, operator: Operator) -> dict[str, Any]:
    """Double entry, checked from the first posting to the last."""
    done = await asyncio.to_thread(trial_balance, services_of(request).engine)
    return {"ok": done.ok, "total_micros": done.total_micros, "faults": list(done.faults)}
