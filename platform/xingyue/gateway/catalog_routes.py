"""What may be called: the catalogue with prices and cards, and OpenAI's list of models.

Beside the catalogue's entries these are the caller's own variants and those that others listed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request

from xingyue.catalog.spec import EntrySpec, Visibility
from xingyue.gateway import variant_views
from xingyue.gateway.auth import Caller
from xingyue.gateway.price_views import effective_price
from xingyue.gateway.services import services_of
from xingyue.pricing.terms import TenantTerms
from xingyue.resolution import not_found, price_for
from xingyue.serving.served import ServedModel
from xingyue.tenants.tenant import Principal
from xingyue.variants import rules
from xingyue.variants.models import Snapshot

router = APIRouter(tags=["catalogue"])

Shaped = dict[str, Any]


def _listed(request: Request) -> list[EntrySpec]:
    models = services_of(request).catalog.models
    return [entry for entry in models if entry.visibility is Visibility.LISTED]


async def _variants(request: Request, principal: Principal) -> list[tuple[Snapshot, EntrySpec]]:
    """Those that the caller may call, with their bases."""
    services = services_of(request)
    found = await asyncio.to_thread(services.variants.store.callable_by, principal.tenant.id)
    pairs = [(each, services.catalog.entry(each.variant.base_model)) for each in found]
    return [(each, entry) for each, entry in pairs if entry is not None]


async def _variant(
    request: Request, principal: Principal, model: str
) -> tuple[Snapshot, EntrySpec] | None:
    """None for a name that can't be a variant's; ``NotFound`` as for a call."""
    reference = rules.parse(model)
    if reference is None:
        return None
    services = services_of(request)
    snapshot = await services.variants.directory.get(reference.variant_id)
    if snapshot is None or not rules.may_see(snapshot.variant, principal.tenant.id):
        raise not_found(model)
    entry = services.catalog.entry(snapshot.variant.base_model)
    if entry is None:
        raise not_found(model)
    rules.check_not_retired(snapshot.variant, services.clock.now())
    return snapshot, entry


def _shape(request: Request, principal: Principal, terms: TenantTerms, entry: EntrySpec) -> Shaped:
    fields = {"id", "version", "industry", "task", "price", "template", "licences", "card", "parts"}
    shaped = entry.model_dump(mode="json", include=fields)
    shaped["price"]["currency"] = "CNY"
    return shaped | _priced(request, principal, terms, ServedModel.of_entry(entry))


def _shape_variant(
    request: Request,
    principal: Principal,
    terms: TenantTerms,
    snapshot: Snapshot,
    entry: EntrySpec,
) -> Shaped | None:
    variant, tenant_id = snapshot.variant, principal.tenant.id
    licences = services_of(request).catalog.variant_licences(entry, variant.tenant_id)
    shaped = variant_views.catalogue_view(snapshot, entry, licences, tenant_id)
    if shaped is None:
        return None
    price, vendor_id = price_for(entry, variant, tenant_id)
    model = ServedModel(
        entry, variant.id, shaped["version"], price, None, licences, vendor_id=vendor_id
    )
    return shaped | _priced(request, principal, terms, model)


def _priced(
    request: Request, principal: Principal, terms: TenantTerms, model: ServedModel
) -> Shaped:
    now = services_of(request).clock.now()
    return {"effective_price": effective_price(terms, principal.tenant.id, model, now)}


@router.get("/v1/catalog")
async def catalog(
    request: Request,
    principal: Caller,
    industry: str | None = None,
    task: str | None = None,
    q: str | None = None,
    commercial_use: bool | None = None,
) -> dict[str, Any]:
    """Filter by industry, task and whether the licence allows commercial use; `q` searches ids,
    titles and summaries. `price` is the list price, `effective_price` what the caller pays."""

    def wanted(shaped: dict[str, Any]) -> bool:
        card = shaped["card"]
        text = f"{shaped['id']} {card['title']} {card['title_zh']} {card['summary']}".lower()
        return (
            industry in (None, shaped["industry"])
            and task in (None, shaped["task"])
            and commercial_use in (None, shaped["licences"]["commercial_use"])
            and (q is None or q.lower() in text)
        )

    terms = await services_of(request).terms.of(principal.tenant.id)
    shown = [_shape(request, principal, terms, entry) for entry in _listed(request)]
    for snapshot, entry in await _variants(request, principal):
        shaped = _shape_variant(request, principal, terms, snapshot, entry)
        if shaped is not None:
            shown.append(shaped)
    return {"object": "list", "data": [each for each in shown if wanted(each)]}


@router.get("/v1/catalog/{model}")
async def catalog_entry(request: Request, principal: Caller, model: str) -> dict[str, Any]:
    services = services_of(request)
    found = await _variant(request, principal, model)
    terms = await services.terms.of(principal.tenant.id)
    if found is None:
        return _shape(request, principal, terms, services.resolver.entry(model))
    shaped = _shape_variant(request, principal, terms, *found)
    if shaped is None:
        raise not_found(model)
    return shaped


def _model(entry: EntrySpec) -> dict[str, Any]:
    # OpenAI's clients read `created` as a number; a catalogue entry has no birthday.
    return {"id": entry.id, "object": "model", "created": 0, "owned_by": "xingyue"}


@router.get("/v1/models")
async def models(request: Request, principal: Caller) -> dict[str, Any]:
    shown = [_model(entry) for entry in _listed(request)]
    shown += [
        variant_views.model_view(each.variant) for each, _ in await _variants(request, principal)
    ]
    return {"object": "list", "data": shown}


@router.get("/v1/models/{model}")
async def model(request: Request, principal: Caller, model: str) -> dict[str, Any]:
    found = await _variant(request, principal, model)
    if found is None:
        return _model(services_of(request).resolver.entry(model))
    return variant_views.model_view(found[0].variant)
