"""``/v1/webhooks``: usage events pushed to a tenant's own receiver."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from xingyue.errors import InvalidRequest
from xingyue.gateway.auth import Caller
from xingyue.gateway.services import services_of
from xingyue.outbox import rules
from xingyue.outbox.models import Webhook

router = APIRouter(prefix="/v1/webhooks", tags=["account"])

_CURSOR_MAX = 2**53


class NewWebhook(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str = Field(description="http:// or https://; where batches of CloudEvents are POSTed.")
    cursor: int | None = Field(
        default=None,
        ge=0,
        le=_CURSOR_MAX,
        description="Begin with the event after this cursor; left out: with the next event.",
    )


class Redelivery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    cursor: int | None = Field(
        default=None,
        ge=0,
        le=_CURSOR_MAX,
        description="Send again from the event after it; left out: go on where it stopped.",
    )


@router.post("", status_code=201)
async def create_webhook(request: Request, principal: Caller, body: NewWebhook) -> dict[str, Any]:
    """The secret that signs (Standard Webhooks) is in this answer and nowhere else, ever again."""
    webhooks = services_of(request).webhooks
    rules.check_url(body.url)
    parts = urlsplit(body.url)
    host = parts.hostname or ""
    try:
        await webhooks.policy.resolve(host, parts.port or 443)
    except (OSError, UnicodeError) as error:
        raise InvalidRequest(f"{host} can't be resolved from here", param="url") from error
    made = await asyncio.to_thread(
        webhooks.store.create, principal.tenant.id, body.url, body.cursor
    )
    return _shown(made) | {"secret": made.secret}


@router.get("")
async def list_webhooks(request: Request, principal: Caller) -> dict[str, Any]:
    """Oldest first, without their secrets."""
    found = await asyncio.to_thread(
        services_of(request).webhooks.store.of_tenant, principal.tenant.id
    )
    return {"object": "list", "data": [_shown(each) for each in found]}


@router.get("/{webhook_id}")
async def show_webhook(request: Request, principal: Caller, webhook_id: str) -> dict[str, Any]:
    """With the reason of its last failure, and where it stands."""
    store = services_of(request).webhooks.store
    return _shown(await asyncio.to_thread(store.get, principal.tenant.id, webhook_id))


@router.delete("/{webhook_id}", status_code=204)
async def delete_webhook(request: Request, principal: Caller, webhook_id: str) -> Response:
    """Nothing more is sent, but for a batch that is under way."""
    store = services_of(request).webhooks.store
    await asyncio.to_thread(store.delete, principal.tenant.id, webhook_id)
    return Response(status_code=204)


@router.post("/{webhook_id}/redeliver")
async def redeliver(
    request: Request, principal: Caller, webhook_id: str, body: Redelivery
) -> dict[str, Any]:
    """Send again from a cursor, or go on after it was parked."""
    store = services_of(request).webhooks.store
    return _shown(
        await asyncio.to_thread(store.redeliver, principal.tenant.id, webhook_id, body.cursor)
    )


def _shown(webhook: Webhook) -> dict[str, Any]:
    delivered_at = webhook.delivered_at
    return {
        "id": webhook.id,
        "object": "webhook",
        "url": webhook.url,
        "state": webhook.state.value,
        "cursor": webhook.cursor,
        "failures": webhook.failures,
        "reason": webhook.reason,
        "next_attempt_at": webhook.due_at.isoformat() if webhook.failures else None,
        "delivered": webhook.delivered,
        "delivered_at": delivered_at.isoformat() if delivered_at else None,
        "created_at": webhook.created_at.isoformat(),
    }
