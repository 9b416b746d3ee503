"""The ASGI application: every route in one list, the middleware order in one function."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.middleware import Middleware

import xingyue
from xingyue.gateway import (
    account_routes,
    admin_routes,
    api_page,
    audit_routes,
    catalog_routes,
    chat,
    direct,
    embeddings,
    errors,
    files_routes,
    fine_tuning_routes,
    health,
    inspect,
    oip_routes,
    openapi,
    price_routes,
    statement_routes,
    storage_routes,
    variant_routes,
    vector_store_routes,
    voucher_routes,
    webhook_routes,
)
from xingyue.gateway.audit_trail import AuditTrail
from xingyue.gateway.context import RequestContext
from xingyue.gateway.services import Services
from xingyue.gateway.traced import RequestTrace

ROUTERS: tuple[APIRouter, ...] = (
    inspect.router,
    chat.router,
    embeddings.router,
    oip_routes.router,
    catalog_routes.router,
    files_routes.router,
    vector_store_routes.router,
    fine_tuning_routes.router,
    storage_routes.router,
    variant_routes.router,
    account_routes.router,
    statement_routes.router,
    webhook_routes.router,
    admin_routes.router,
    audit_routes.router,
    voucher_routes.router,
    price_routes.router,
    health.router,
)


def methods_of(path: str) -> set[str]:
    """Of all routes that match the path; ``HEAD`` wherever there is ``GET``."""
    found = {"OPTIONS"}
    for router in ROUTERS:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.path_regex.match(path):
                found |= route.methods or set()
    return found | ({"HEAD"} if "GET" in found else set())


ServicesContext = Callable[[], AbstractAsyncContextManager[Services]]


def build_app(
    services: ServicesContext, *, body_max_bytes: int, stamp_request_id: bool = True
) -> FastAPI:
    """``services`` is entered when the server starts and left when it stops."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with services() as built:
            app.state.services = built
            yield

    app = FastAPI(
        title="Xingyue 星月",
        version=getattr(xingyue, "__version__", "0.1.0"),
        summary="Industry models over HTTP, metered per tenant.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        middleware=[
            Middleware(RequestContext, body_max_bytes=body_max_bytes, stamp=stamp_request_id),
            Middleware(RequestTrace),
            Middleware(AuditTrail),
        ],
    )
    for router in ROUTERS:
        app.include_router(router)
    direct.install(app)
    errors.install(app, methods_of)
    openapi.install(app, ROUTERS)
    api_page.install(app)
    return app
