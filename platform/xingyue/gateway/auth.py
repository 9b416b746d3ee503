"""Key -> principal, with the scope that a route needs and the tenant's rate limit."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from xingyue.errors import RateLimited
from xingyue.gateway.services import services_of
from xingyue.tenants import rules
from xingyue.tenants.rate_limit import WINDOW_S, RateState
from xingyue.tenants.tenant import Principal, Scope


def bearer(request: Request) -> str | None:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def rate_headers(state: RateState) -> dict[str, str]:
    return {
        "x-ratelimit-limit-requests": str(state.limit),
        "x-ratelimit-remaining-requests": str(state.remaining),
        "x-ratelimit-reset-requests": f"{math.ceil(state.reset_s)}s",
    }


async def authorize(request: Request, scope: Scope) -> Principal:
    """Known key, alive, with the scope, inside the rate limit; headers of the limit go with the
    answer by ``request.state.rate_headers``."""
    services = services_of(request)
    principal = await services.directory.authenticate(bearer(request))
    request.state.tenant_id = principal.tenant.id
    try:
        state = services.limiter.admit(principal.tenant, principal.key)
    except RateLimited:
        limit = math.ceil(principal.tenant.rate_limit_requests / services.settings.gateway_replicas)
        request.state.rate_headers = rate_headers(RateState(limit, 0, WINDOW_S))
        raise
    request.state.rate_headers = rate_headers(state)
    rules.require_scope(principal, scope)
    request.state.principal = principal
    return principal


class Needs:
    """A route's dependency; the API page reads ``scope`` off it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def __call__(self, request: Request) -> Principal:
        return await authorize(request, self.scope)


Caller = Annotated[Principal, Depends(Needs(Scope.CALL))]
Tuner = Annotated[Principal, Depends(Needs(Scope.TUNE))]
Publisher = Annotated[Principal, Depends(Needs(Scope.PUBLISH))]
Operator = Annotated[Principal, Depends(Needs(Scope.ADMIN))]
