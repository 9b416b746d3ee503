"""Admit -> run -> post -> answer: the one way in which a call that costs money is served.

The answer leaves only after its usage event is durable. Whatever goes wrong before that frees the
money that was set aside, and the idempotency key, and bills nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import format_datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from xingyue import metrics, tracing
from xingyue.errors import Forbidden, Internal, InvalidRequest
from xingyue.gateway.services import Services, services_of
from xingyue.gateway.terms import offer
from xingyue.ledger import accounts
from xingyue.ledger.events import Share, UsageEvent
from xingyue.ledger.idempotency import Idempotency, StoredResponse
from xingyue.ledger.local import Hold
from xingyue.ledger.rules import BPS, split_by_bps
from xingyue.serving.served import ServedModel
from xingyue.tenants import rules
from xingyue.tenants.tenant import Principal

TIMEOUT_HEADER = "x-xingyue-timeout-ms"


CostOf = Callable[[int], int]
"""Units -> micros, by the rate that the call was admitted at."""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a call came to. ``body`` gets its ``usage`` from ``with_usage``."""

    body: Callable[[CostOf], dict[str, Any]]
    """The answer's JSON, given what the call's first so many units cost."""
    units: int
    compute_ms: float


@dataclass(frozen=True, slots=True)
class Work:
    """A call that was read and checked. ``units_max`` bounds what it may use."""

    model: ServedModel
    units_max: int
    run: Callable[[], Awaitable[Ran]]


Render = Callable[[dict[str, Any]], tuple[bytes, dict[str, str]]]
"""An answer's JSON -> the bytes that are sent, and the headers that tell their form."""


def as_json(answer: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    content = json.dumps(answer, ensure_ascii=False).encode()
    return content, {"content-type": "application/json"}


async def resolve(request: Request, principal: Principal, model: str) -> ServedModel:
    """What answers this caller under that name; ``Resolver`` tells the errors."""
    resolver = services_of(request).resolver
    return await resolver.resolve(model, principal.tenant.id, principal.key.id)


def check_model(request: Request, principal: Principal, model: ServedModel) -> None:
    """``Forbidden`` where the key or the licence does not allow this model."""
    rules.require_model(principal, model.id)
    settings = services_of(request).settings
    if (
        settings.commercial_only
        and not model.licences.commercial_use
        and not principal.tenant.allow_noncommercial
    ):
        raise Forbidden(
            f"the licence of {model.id} forbids commercial use; ask the operator for leave",
            code="commercial_use_forbidden",
            param="model",
        )


def timeout_s(request: Request, model: ServedModel) -> float:
    """The caller's deadline, never beyond the model's own."""
    given = request.headers.get(TIMEOUT_HEADER)
    limit = min(model.timeout_s, services_of(request).settings.deadline_s)
    if given is None:
        return limit
    if not given.isdigit() or int(given) == 0:
        raise InvalidRequest(
            f"{TIMEOUT_HEADER} must be a whole number of milliseconds, at least 1",
            param=TIMEOUT_HEADER,
        )
    return min(limit, int(given) / 1e3)


def idempotency(request: Request, body: bytes) -> Idempotency | None:
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    return Idempotency.of(key, method=request.method, path=path, body=body)


def replay(stored: StoredResponse) -> Response:
    """The first answer, byte for byte, and a header that says so."""
    headers = dict(stored.headers) | {"x-xingyue-replayed": "true"}
    return Response(stored.body, stored.status, headers)


def cost_of(hold: Hold) -> CostOf:
    if hold.rate is None:
        raise Internal("a call was admitted without a price", code="usage_malformed")
    return hold.rate.cost_micros


def usage_event(
    request: Request,
    principal: Principal,
    model: ServedModel,
    units: int,
    hold: Hold,
    kind: str = "call",
) -> UsageEvent:
    cost_micros = cost_of(hold)(units)
    return UsageEvent(
        tenant_id=principal.tenant.id,
        key_id=principal.key.id,
        model=model.id,
        version=model.version,
        unit=model.price.unit.value,
        units=units,
        cost_micros=cost_micros,
        request_id=request.state.request_id,
        created_at=services_of(request).clock.now(),
        kind=kind,
        shares=_shares(request, model, cost_micros),
        price_id=hold.rate.price_id if hold.rate else None,
    )


def _shares(request: Request, model: ServedModel, cost_micros: int) -> tuple[Share, ...]:
    """The vendor's part, rounded down; the rest is the platform's."""
    if model.vendor_id is None:
        return ()
    bps = BPS - services_of(request).settings.platform_share_percent * BPS // 100
    return split_by_bps(cost_micros, {accounts.vendor_revenue(model.vendor_id): bps})


def call_headers(
    request: Request, model: ServedModel, cost_micros: int, compute_ms: float
) -> dict[str, str]:
    total_ms = (time.perf_counter() - request.state.started_s) * 1e3
    overhead_ms = max(0.0, total_ms - compute_ms)
    metrics.overhead.observe(overhead_ms / 1e3)
    headers = {
        "x-xingyue-model": f"{model.id}@{model.version}",
        "x-xingyue-cost-micros": str(cost_micros),
        "x-xingyue-overhead-ms": f"{overhead_ms:.1f}",
    }
    if model.shutdown_at is not None:
        # RFC 8594: this model is going to be retired.
        headers["sunset"] = format_datetime(model.shutdown_at, usegmt=True)
    return headers


async def admit(
    services: Services,
    principal: Principal,
    model: ServedModel,
    units_max: int,
    key: Idempotency | None,
) -> Hold | StoredResponse:
    """Set aside what the call may cost at most; the hold bears the rate that it is billed by."""
    terms = await services.terms.of(principal.tenant.id)
    found = offer(terms, principal, model, units_max, services.clock.now())
    with tracing.span("admit"):
        hold = await services.meter.admit(
            principal.tenant.id,
            found.rate.cost_micros(units_max),
            idempotency=key,
            demand=found.demand,
        )
    if isinstance(hold, Hold) and hold.rate is None:
        hold.rate = found.rate
    return hold


async def metered(
    request: Request,
    principal: Principal,
    model: ServedModel,
    *,
    body: bytes,
    units_max: int,
    run: Callable[[], Awaitable[Ran]],
    render: Render = as_json,
) -> Response:
    """Serve one call. ``units_max`` bounds what it may use; more is never billed."""
    services = services_of(request)
    check_model(request, principal, model)
    with services.limiter.call(principal, model.id):
        key = idempotency(request, body)
        if key is None:
            services.inference.accept(model)
        hold = await admit(services, principal, model, units_max, key)
        if isinstance(hold, StoredResponse):
            return replay(hold)
        try:
            if key is not None:
                # Not before: an answer that is stored needs no room.
                services.inference.accept(model)
            ran = await run()
            event = usage_event(request, principal, model, min(ran.units, units_max), hold)
            content, form = render(ran.body(cost_of(hold)))
        except BaseException:
            await services.meter.void(hold)
            raise
        headers = call_headers(request, model, event.cost_micros, ran.compute_ms)
        headers |= form
        stored = StoredResponse(200, tuple(headers.items()), content)
        with tracing.span("post"):
            await services.meter.post(hold, event, stored if hold.claim else None)
        metrics.billed(model.entry.id, event.unit, event.units, event.cost_micros)
        return Response(content, 200, headers)
