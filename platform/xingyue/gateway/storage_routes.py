"""``/v1/storage``: the tenant's own bucket, for data sets that it trains on."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from itertools import islice
from typing import Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse

from xingyue.gateway.auth import Tuner
from xingyue.gateway.services import services_of
from xingyue.storage.identities import tenant_bucket
from xingyue.storage.objects import ObjectStat
from xingyue.storage.tenant_access import BucketAccess

router = APIRouter(prefix="/v1/storage", tags=["storage"])

_SECRET = {"cache-control": "no-store"}
_PAGE_MAX = 10_000


@router.get("")
async def read_access(request: Request, principal: Tuner) -> JSONResponse:
    """The bucket with the tenant's S3 key pair; both are made on the first call."""
    access = services_of(request).storage_access
    return _shape(await asyncio.to_thread(access.open, principal.tenant.id))


@router.post("/rotate")
async def rotate(request: Request, principal: Tuner) -> JSONResponse:
    """A new key pair; the old one is refused from now on."""
    access = services_of(request).storage_access
    return _shape(await asyncio.to_thread(access.rotate, principal.tenant.id))


class Presign(BaseModel):
    key: str
    method: Literal["PUT", "GET"] = "PUT"
    expires_s: int = 900


@router.post("/presign")
async def presign(request: Request, principal: Tuner, body: Presign) -> JSONResponse:
    """A signed URL for one object of the tenant's bucket; works on every S3 server."""
    services = services_of(request)
    tenant = principal.tenant.id
    url = await asyncio.to_thread(
        services.storage_access.presign,
        tenant,
        body.key,
        method=body.method,
        expires_s=body.expires_s,
    )
    until = services.clock.now() + timedelta(seconds=body.expires_s)
    answer = {
        "url": url,
        "method": body.method,
        "uri": f"s3://{tenant_bucket(tenant)}/{body.key}",
        "expires_at": int(until.timestamp()),
    }
    return JSONResponse(answer, headers=_SECRET)


@router.get("/objects")
async def list_objects(
    request: Request,
    principal: Tuner,
    prefix: str = "",
    after: str = "",
    limit: int = Query(default=1000, ge=1, le=_PAGE_MAX),
) -> dict[str, Any]:
    """Objects of the tenant's bucket in order of their keys; ``after`` is the last one seen."""
    access = services_of(request).storage_access
    tenant = principal.tenant.id

    def page() -> list[ObjectStat]:
        found = (stat for stat in access.list(tenant, prefix) if stat.key > after)
        return list(islice(found, limit + 1))

    found = await asyncio.to_thread(page)
    data = [
        {
            "key": stat.key,
            "size_bytes": stat.size_bytes,
            "etag": stat.etag,
            "modified_at": int(stat.modified_at.timestamp()),
        }
        for stat in found[:limit]
    ]
    bucket = tenant_bucket(tenant)
    return {"object": "list", "bucket": bucket, "data": data, "has_more": len(found) > limit}


def _shape(access: BucketAccess) -> JSONResponse:
    return JSONResponse({"object": "storage", **dataclasses.asdict(access)}, headers=_SECRET)
