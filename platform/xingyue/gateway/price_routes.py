"""``/admin/v1/prices``: the price book. What is in no book costs what the catalogue says."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request

from xingyue.errors import InvalidRequest, NotFound
from xingyue.gateway.auth import Operator
from xingyue.gateway.services import Services, services_of
from xingyue.gateway.times import parse_time
from xingyue.pricing.models import NewPrice, PriceEntry, Tier
from xingyue.units import Unit

router = APIRouter(prefix="/admin/v1/prices", tags=["admin"])


class PriceTier(BaseModel):
    model_config = ConfigDict(extra="forbid")

    amount_micros: int
    up_to: int | None = None


class PriceBody(BaseModel):
    """`amount_micros` for one price of all units, or `tiers`."""

    model_config = ConfigDict(extra="forbid")

    reference: str
    model: str
    tenant_id: str | None = None
    amount_micros: int | None = None
    tiers: list[PriceTier] | None = None
    per: int | None = None
    included_units: int = 0
    monthly_fee_micros: int = 0
    effective_from: str | None = None
    effective_until: str | None = None
    note: str | None = None


@router.post("", status_code=201)
async def set_price(request: Request, operator: Operator, body: PriceBody) -> dict[str, Any]:
    """Idempotent by `reference`. From `effective_from` on (default: now; never in the past) it
    holds instead of what held before; bills that were made stay as they are."""
    services = services_of(request)
    new = await _read(services, body)
    entry = await asyncio.to_thread(services.prices.set, new)
    services.terms.forget()
    return price_row(entry)


@router.get("")
async def list_prices(
    request: Request, operator: Operator, model: str | None = None, tenant_id: str | None = None
) -> dict[str, Any]:
    """Oldest first, those that ended or are to come too."""
    store = services_of(request).prices
    found = await asyncio.to_thread(store.entries, model=model, tenant_id=tenant_id)
    return {"object": "list", "data": [price_row(entry) for entry in found]}


@router.delete("/{price_id}")
async def end_price(request: Request, operator: Operator, price_id: str) -> dict[str, Any]:
    """End it now; what held beside it, or the catalogue's price, holds again. It stays on record:
    events name it."""
    services = services_of(request)
    ended = await asyncio.to_thread(services.prices.end, price_id)
    services.terms.forget()
    return price_row(ended)


async def _read(services: Services, body: PriceBody) -> NewPrice:
    unit, per = await _unit(services, body.model)
    if body.tenant_id is not None:
        await asyncio.to_thread(services.tenants.get_tenant, body.tenant_id)
    return NewPrice(
        reference=body.reference,
        model=body.model,
        tenant_id=body.tenant_id,
        unit=unit,
        per=body.per or per,
        tiers=_tiers(body),
        monthly_fee_micros=body.monthly_fee_micros,
        effective_from=(
            parse_time(body.effective_from, "effective_from") if body.effective_from else None
        ),
        effective_until=(
            parse_time(body.effective_until, "effective_until") if body.effective_until else None
        ),
        note=body.note,
    )


async def _unit(services: Services, model: str) -> tuple[Unit, int]:
    """What the model counts, and per how many units the catalogue prices it."""
    base = model
    if "." in model:
        snapshot = await services.variants.directory.get(model)
        base = snapshot.variant.base_model if snapshot is not None else ""
    entry = services.catalog.entry(base)
    if entry is None:
        raise NotFound(
            f"there is no model {model!r} to price; name it by its id, without a version",
            code="model_not_found",
            param="model",
        )
    return entry.price.unit, entry.price.per


def _tiers(body: PriceBody) -> tuple[Tier, ...]:
    if (body.amount_micros is None) == (body.tiers is None):
        raise InvalidRequest("give either amount_micros or tiers", param="amount_micros")
    if body.tiers is not None:
        tiers = [Tier(tier.up_to, tier.amount_micros) for tier in body.tiers]
    else:
        assert body.amount_micros is not None
        tiers = [Tier(None, body.amount_micros)]
    if body.included_units < 0:
        raise InvalidRequest("included_units must be >= 0", param="included_units")
    if body.included_units:
        # Later tiers count from the month's first unit, included ones among them.
        tiers.insert(0, Tier(body.included_units, 0))
    return tuple(tiers)


def price_row(entry: PriceEntry) -> dict[str, Any]:
    included = entry.tiers[0].up_to if entry.tiers[0].amount_micros == 0 else None
    return {
        "id": entry.id,
        "reference": entry.reference,
        "model": entry.model,
        "tenant_id": entry.tenant_id,
        "unit": entry.unit.value,
        "per": entry.per,
        "tiers": [
            {"up_to": tier.up_to, "amount_micros": tier.amount_micros} for tier in entry.tiers
        ],
        "included_units": included or 0,
        "monthly_fee_micros": entry.monthly_fee_micros,
        "currency": "CNY",
        "effective_from": entry.effective_from.isoformat(),
        "effective_until": entry.effective_until.isoformat() if entry.effective_until else None,
        "note": entry.note,
        "created_at": entry.created_at.isoformat(),
    }
