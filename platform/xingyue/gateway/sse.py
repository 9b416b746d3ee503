"""Streamed answers. Money is set aside durably before the first byte; the usage event is durable
before the last one. A caller that hangs up pays for what was generated until then; a stream that
fails is not billed, nor one whose gateway died (its hold expires)."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from xingyue import metrics, tracing
from xingyue.contract import Chunk, WorkResult
from xingyue.errors import DeadlineExceeded, Internal, XingyueError
from xingyue.gateway.chat_request import ChatCall, grounding
from xingyue.gateway.errors import envelope
from xingyue.gateway.metering import (
    admit,
    call_headers,
    cost_of,
    idempotency,
    replay,
    timeout_s,
    usage_event,
)
from xingyue.gateway.services import services_of
from xingyue.ledger.idempotency import StoredResponse
from xingyue.ledger.local import Hold
from xingyue.tenants.tenant import Principal

log = logging.getLogger(__name__)

_settling: set[asyncio.Task[None]] = set()
"""Bills under way of callers that hung up: the loop keeps only weak references to tasks."""


def _frame(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


async def stream_answer(
    request: Request,
    principal: Principal,
    call: ChatCall,
    body: bytes,
    chunks: Callable[[], AsyncIterator[Chunk]],
) -> Response:
    services = services_of(request)
    # Held from here to the bill, which comes long after this function has returned.
    slot = ExitStack()
    slot.enter_context(services.limiter.call(principal, call.model.id))
    try:
        hold = await admit(
            services, principal, call.model, call.units_max, idempotency(request, body)
        )
    except BaseException:
        slot.close()
        raise
    if isinstance(hold, StoredResponse):
        slot.close()
        return replay(hold)
    stream = _Stream(request, principal, call, hold, slot.close)
    try:
        await services.meter.reserve(hold)
        first = await stream.open(chunks())
    except BaseException:
        await stream.fail()
        raise
    # Headers leave before the answer is known: the cost in them is the most that it may be, and
    # the last usage event tells what it was.
    headers = call_headers(request, call.model, hold.amount_max_micros, stream.waited_ms)
    headers |= {"cache-control": "no-cache", "x-accel-buffering": "no"}
    return StreamingResponse(stream.frames(first), headers=headers, media_type="text/event-stream")


class _Stream:
    """One streamed call from its first chunk to its bill."""

    def __init__(
        self,
        request: Request,
        principal: Principal,
        call: ChatCall,
        hold: Hold,
        release: Callable[[], None],
    ) -> None:
        self._request = request
        self._principal = principal
        self._call = call
        self._hold = hold
        self._release = release
        self._meter = services_of(request).meter
        self._timeout_s = timeout_s(request, call.model)
        self._settled = False
        self.waited_ms = 0.0
        """For the first chunk: the model's own time, none of the platform's overhead."""
        self._units = 0
        self._sent: list[bytes] = []

    async def open(self, chunks: AsyncIterator[Chunk]) -> Chunk:
        """The first chunk, before any header is sent: its errors still get a status."""
        self._chunks = chunks
        asked_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                first = await anext(chunks)
                self.waited_ms = (time.perf_counter() - asked_s) * 1e3
                return first
        except StopAsyncIteration:
            raise Internal("the model gave no answer") from None
        except TimeoutError as error:
            raise DeadlineExceeded(f"no first token within {self._timeout_s:g} s") from error

    async def frames(self, first: Chunk) -> AsyncIterator[bytes]:
        try:
            yield self._keep(_frame(self._call.chunk({"role": "assistant", "content": ""})))
            chunk: Chunk | None = first
            while chunk is not None:
                self._units = max(self._units, chunk.units)
                if chunk.text:
                    yield self._keep(_frame(self._call.chunk({"content": chunk.text})))
                if chunk.final is not None:
                    async for frame in self._end(chunk.final):
                        yield frame
                    return
                async with asyncio.timeout(self._timeout_s):
                    chunk = await anext(self._chunks, None)
            raise Internal("the answer broke off")
        except XingyueError as error:
            await self.fail()
            yield _frame(envelope(error))
        except TimeoutError:
            await self.fail()
            yield _frame(envelope(DeadlineExceeded("the model stalled; nothing was billed")))
        finally:
            if not self._settled:
                # The caller hung up. Its task is being cancelled, so the bill gets its own.
                task = asyncio.ensure_future(self._settle_cut())
                _settling.add(task)
                task.add_done_callback(_settling.discard)

    async def fail(self) -> None:
        if self._settled:
            return
        self._settled = True
        try:
            await self._close_chunks()
            await self._meter.void(self._hold)
        finally:
            self._release()

    async def _end(self, final: WorkResult) -> AsyncIterator[bytes]:
        tail = [_frame(self._call.chunk(grounding(final.value), final.value["finish_reason"]))]
        if self._call.include_usage:
            cost_micros = cost_of(self._hold)(min(final.units, self._call.units_max))
            tail.append(_frame(self._call.usage_chunk(final.value, cost_micros)))
        tail.append(b"data: [DONE]\n\n")
        await self._post(final.units, b"".join([*self._sent, *tail]))
        for frame in tail:
            yield frame

    async def _post(self, units: int, whole: bytes | None) -> None:
        event = usage_event(
            self._request,
            self._principal,
            self._call.model,
            min(units, self._call.units_max),
            self._hold,
            kind="stream",
        )
        stored = None
        if whole is not None and self._hold.claim:
            headers = (
                ("content-type", "text/event-stream; charset=utf-8"),
                ("x-xingyue-model", f"{self._call.model.id}@{self._call.model.version}"),
                ("x-xingyue-cost-micros", str(event.cost_micros)),
            )
            stored = StoredResponse(200, headers, whole)
        with tracing.span("post"):
            await self._meter.post(self._hold, event, stored)
        metrics.billed(self._call.model.entry.id, event.unit, event.units, event.cost_micros)
        self._settled = True
        self._release()

    async def _settle_cut(self) -> None:
        """Bill what was generated until the caller hung up; an unfinished answer isn't kept, so
        the idempotency key is spent with no answer to replay only if something was billed."""
        try:
            await self._close_chunks()
            if self._units:
                await self._post(self._units, None)
            else:
                await self.fail()
        except XingyueError as error:
            log.warning("a cut stream was not billed: %s", error.message)
            self._settled = True
            self._release()

    async def _close_chunks(self) -> None:
        close = getattr(getattr(self, "_chunks", None), "aclose", None)
        if close is not None:
            await close()

    def _keep(self, frame: bytes) -> bytes:
        if self._hold.claim:
            self._sent.append(frame)
        return frame
