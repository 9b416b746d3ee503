"""Alive, ready, and what Prometheus scrapes."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from xingyue import metrics
from xingyue.gateway.services import services_of

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def healthz() -> dict[str, bool]:
    """This process turns."""
    return {"alive": True}


@router.get("/readyz")
async def readyz(request: Request) -> JSONResponse:
    """Every catalogue entry that should serve is serving."""
    services = services_of(request)
    missing = await services.readiness.missing()
    return JSONResponse({"ready": not missing, "missing": missing}, 200 if not missing else 503)


@router.get("/metrics")
async def scrape() -> Response:
    """Prometheus text of this gateway process: `nv_inference_*` (Triton's names) and `xingyue_*`.
    Without a key: the gateway binds loopback unless told otherwise; keep the path inside."""
    return Response(metrics.exposition(), headers={"content-type": metrics.MEDIA_TYPE})
