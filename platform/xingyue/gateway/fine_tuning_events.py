"""The events of a job, as a list shows them and as a stream that follows the job."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import StreamingResponse

from xingyue.gateway.services import services_of
from xingyue.jobs.models import JobEvent
from xingyue.jobs.store import JobStore
from xingyue.tenants.rate_limit import TenantLimiter
from xingyue.tenants.tenant import Principal

POLL_S = 0.3
KEEP_ALIVE_S = 15.0
"""Proxies take a silent connection for a dead one."""


def event_shape(event: JobEvent) -> dict[str, Any]:
    return {
        "object": "fine_tuning.job.event",
        "id": event.id,
        "created_at": int(event.created_at.timestamp()),
        "level": event.level.value,
        "message": event.message,
        "type": event.type,
        "data": dict(event.data),
    }


def event_stream(
    request: Request, principal: Principal, job_id: str, after: int
) -> StreamingResponse:
    """``after``: number of the last event that the caller has. A stream counts as one of the
    tenant's concurrent calls."""
    services = services_of(request)
    with services.limiter.slot(principal.tenant):
        # Refused now, with a status, rather than within the stream.
        pass
    frames = _frames(services.finetune.jobs, services.limiter, principal, job_id, after)
    headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(frames, headers=headers, media_type="text/event-stream")


async def _frames(
    store: JobStore, limiter: TenantLimiter, principal: Principal, job_id: str, after: int
) -> AsyncIterator[bytes]:
    with limiter.slot(principal.tenant):
        said_at_s = time.monotonic()
        while True:
            # Looked at before its events are read, so that none of an ended job is missed.
            job = await asyncio.to_thread(store.find, job_id)
            for event in await asyncio.to_thread(store.events_after, job_id, after):
                after, said_at_s = event.sequence, time.monotonic()
                data = json.dumps(event_shape(event), ensure_ascii=False)
                yield f"id: {event.sequence}\ndata: {data}\n\n".encode()
            if job is None or job.status.ended:
                break
            if time.monotonic() - said_at_s >= KEEP_ALIVE_S:
                said_at_s = time.monotonic()
                yield b": still running\n\n"
            await asyncio.sleep(POLL_S)
    yield b"data: [DONE]\n\n"
