"""``/v1/variants``: what a vendor does with its variants. Nobody else finds them here.

Every change is idempotent where asking twice can mean the same, takes effect at once at this
gateway and within about a second at the others, and is kept as an event (who, when, what).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from xingyue.catalog.spec import Visibility
from xingyue.errors import InvalidRequest, NotFound
from xingyue.gateway import variant_views
from xingyue.gateway.auth import Publisher
from xingyue.gateway.services import Services, services_of
from xingyue.storage.objects import ObjectStore, delete_prefix
from xingyue.tenants.tenant import Principal
from xingyue.variants.models import Guard, Snapshot, VariantPrice, VariantVersion
from xingyue.variants.store import VariantStore, unknown

router = APIRouter(prefix="/v1/variants", tags=["variants"])

_LINK_S = 900


class _Body(BaseModel):
    # A version is a number to people and a name to us: 2 and "2" are the same.
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


class PriceBody(_Body):
    amount_micros: int
    per: int = 1
    unit: str | None = Field(default=None, description="The base's unit; may be left out.")


class Publish(_Body):
    visibility: Visibility
    price: PriceBody | None = None
    version: str | None = Field(default=None, description="Make this version the stable one.")


class GuardBody(_Body):
    calls_min: int | None = None
    error_points: float | None = None
    fail_points: float | None = None
    score_distance_max: float | None = None


class Rollout(_Body):
    version: str | None = Field(default=None, description="Default: the latest.")
    percent: int = Field(description="0 to 100; 100 makes the version the stable one.")
    guard: GuardBody | None = Field(default=None, description="Limits of the automatic rollback.")


class Rollback(_Body):
    version: str | None = Field(default=None, description="A former stable one; default: the last.")


class Alias(_Body):
    name: str
    version: str | None = Field(description="null removes the alias.")


class Retire(_Body):
    shutdown_date: str | None = Field(description="Refused from then on; null takes it back.")
    successor: str | None = Field(default=None, description="What callers should use instead.")


@router.get("")
async def list_variants(request: Request, principal: Publisher) -> dict[str, Any]:
    store = services_of(request).variants.store
    found = await asyncio.to_thread(store.of_tenant, principal.tenant.id)
    return {"object": "list", "data": [variant_views.summary(each) for each in found]}


@router.get("/{variant_id}")
async def show_variant(request: Request, principal: Publisher, variant_id: str) -> dict[str, Any]:
    """Versions with lineage and metrics, route, canary, price, calls, earnings, events."""
    return await asyncio.to_thread(_whole, services_of(request), principal.tenant.id, variant_id)


def _whole(services: Services, tenant_id: str, variant_id: str) -> dict[str, Any]:
    variants, reports = services.variants, services.reports
    snapshot = _own(variants.store, tenant_id, variant_id)
    until = services.clock.now() + timedelta(seconds=1)
    beginning = datetime(2000, 1, 1, tzinfo=UTC)
    rows = reports.usage(None, beginning, until, ("version",), model=variant_id)
    view = variant_views.owners_view(
        snapshot, variants.tallies.of(variant_id), variants.store.events(variant_id)
    )
    return view | {
        "calls": sum(row.calls for row in rows),
        "calls_by_version": {row.group["version"]: row.calls for row in rows},
        "revenue_micros": sum(row.cost_micros for row in rows),
        "earnings_micros": reports.earned_micros(tenant_id, variant_id),
        "currency": "CNY",
    }


@router.get("/{variant_id}/versions/{version}/report")
async def report(
    request: Request, principal: Publisher, variant_id: str, version: str
) -> dict[str, Any]:
    """Links to the files of the version's report; each holds for 15 minutes."""
    services = services_of(request)

    def links() -> list[dict[str, Any]]:
        snapshot = _own(services.variants.store, principal.tenant.id, variant_id)
        found = snapshot.versions.get(version)
        if found is None:
            raise NotFound(
                f"{variant_id} has no version {version!r}",
                code="version_not_found",
                param="version",
            )
        return _links(services.objects, found.facts.report_uri)

    return {"object": "list", "expires_s": _LINK_S, "data": await asyncio.to_thread(links)}


@router.post("/{variant_id}/publish")
async def publish(
    request: Request, principal: Publisher, variant_id: str, body: Publish
) -> dict[str, Any]:
    """List it with the vendor's price, or make it private again."""
    price = None
    if body.price is not None:
        await asyncio.to_thread(
            _check_unit, services_of(request), principal, variant_id, body.price
        )
        price = VariantPrice(body.price.amount_micros, body.price.per)
    return await _change(
        request,
        principal,
        lambda store, actor: store.publish(
            principal.tenant.id,
            variant_id,
            body.visibility,
            price=price,
            version=body.version,
            actor=actor,
        ),
    )


@router.post("/{variant_id}/rollout")
async def rollout(
    request: Request, principal: Publisher, variant_id: str, body: Rollout
) -> dict[str, Any]:
    """Give a version a share of the callers; 100 percent makes it the stable one."""
    guard = None
    if body.guard is not None:
        guard = replace(Guard(), **body.guard.model_dump(exclude_none=True))
    return await _change(
        request,
        principal,
        lambda store, actor: store.rollout(
            principal.tenant.id, variant_id, body.version, body.percent, guard=guard, actor=actor
        ),
    )


@router.post("/{variant_id}/rollback")
async def rollback(
    request: Request, principal: Publisher, variant_id: str, body: Rollback | None = None
) -> dict[str, Any]:
    """End a running canary; without one, go back to the stable version before."""
    version = None if body is None else body.version
    return await _change(
        request,
        principal,
        lambda store, actor: store.rollback(principal.tenant.id, variant_id, version, actor=actor),
    )


@router.post("/{variant_id}/alias")
async def alias(
    request: Request, principal: Publisher, variant_id: str, body: Alias
) -> dict[str, Any]:
    """Name a version, so that callers can ask for `<id>@<alias>`."""
    return await _change(
        request,
        principal,
        lambda store, actor: store.set_alias(
            principal.tenant.id, variant_id, body.name, body.version, actor=actor
        ),
    )


@router.post("/{variant_id}/retire")
async def retire(
    request: Request, principal: Publisher, variant_id: str, body: Retire
) -> dict[str, Any]:
    """Refuse calls from a date on; until then answers carry it in the header `Sunset`."""
    return await _change(
        request,
        principal,
        lambda store, actor: store.retire(
            principal.tenant.id,
            variant_id,
            body.shutdown_date,
            successor=body.successor,
            actor=actor,
        ),
    )


@router.delete("/{variant_id}")
async def delete(request: Request, principal: Publisher, variant_id: str) -> dict[str, Any]:
    """Only what was never listed. Its files go too."""
    services = services_of(request)

    def remove() -> None:
        gone = services.variants.store.delete(
            principal.tenant.id, variant_id, actor=principal.key.id
        )
        for version in gone:
            _delete_files(services.objects, version)

    await asyncio.to_thread(remove)
    services.variants.directory.forget(variant_id)
    return {"id": variant_id, "object": "variant", "deleted": True}


async def _change(
    request: Request, principal: Principal, change: Callable[[VariantStore, str], Snapshot]
) -> dict[str, Any]:
    variants = services_of(request).variants
    done = await asyncio.to_thread(change, variants.store, principal.key.id)
    variants.directory.forget(done.variant.id)
    return variant_views.summary(done)


def _own(store: VariantStore, tenant_id: str, variant_id: str) -> Snapshot:
    snapshot = store.get(variant_id)
    if snapshot is None or snapshot.variant.tenant_id != tenant_id:
        raise unknown(variant_id)
    return snapshot


def _check_unit(
    services: Services, principal: Principal, variant_id: str, price: PriceBody
) -> None:
    """A price is per unit of the base: another unit is a misunderstanding, not a choice."""
    variant = _own(services.variants.store, principal.tenant.id, variant_id).variant
    entry = services.catalog.entry(variant.base_model)
    if price.unit is not None and entry is not None and price.unit != entry.price.unit.value:
        raise InvalidRequest(
            f"{variant.base_model} counts in {entry.price.unit.value}; price.unit can't be "
            f"{price.unit!r}",
            param="price.unit",
        )


def _links(objects: ObjectStore, uri: str) -> list[dict[str, Any]]:
    bucket, prefix = _place(uri)
    return [
        {
            "name": stat.key.removeprefix(prefix),
            "bytes": stat.size_bytes,
            "url": objects.presigned_url(bucket, stat.key, expires_s=_LINK_S),
        }
        for stat in objects.list(bucket, prefix)
    ]


def _delete_files(objects: ObjectStore, version: VariantVersion) -> None:
    for uri in (version.facts.head_uri, version.facts.report_uri):
        delete_prefix(objects, *_place(uri))


def _place(uri: str) -> tuple[str, str]:
    """``s3://bucket/some/folder`` -> the bucket and ``some/folder/``."""
    parts = urlsplit(uri)
    prefix = parts.path.strip("/")
    if parts.scheme != "s3" or not parts.netloc or not prefix:
        raise InvalidRequest(f"{uri!r} is no folder of the object store", param="uri")
    return parts.netloc, f"{prefix}/"
