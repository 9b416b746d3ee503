"""The relay: reads usage events behind each webhook's cursor and sends them on.

Guarantees, for each webhook: every event at least once, in the order of the ledger, under the
event's own id, by which a receiver tells a repetition. A batch that failed is sent again as it
was, under the same ``webhook-id``; a later one never overtakes it. One process sends at a time,
by a lease in the database: if it dies, another goes on from the stored cursors.

It has two threads, and so at most two connections, of its own: a call never waits for one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from xingyue import metrics
from xingyue.clock import Clock
from xingyue.ledger.events import RecordedEvent, to_cloudevents_batch
from xingyue.ledger.reports import LedgerReports
from xingyue.outbox.models import Webhook
from xingyue.outbox.rules import RetryPolicy
from xingyue.outbox.sender import Attempt, Sender
from xingyue.outbox.store import WebhookStore

log = logging.getLogger(__name__)

SOURCE = "/xingyue/gateway"

T = TypeVar("T")

_THREADS = 2
_BATCHES_A_TURN = 20
"""Of one webhook before others get their turn."""
_LOOK_MAX = 256


class Relay:
    """``batch_max``: events in one request. ``at_once``: webhooks that are sent to at a time.
    ``ttl_s``: after so long without a sign of life another process takes over; longer than an
    attempt may last, so that two never send at once."""

    def __init__(
        self,
        store: WebhookStore,
        reports: LedgerReports,
        sender: Sender,
        *,
        holder: str,
        clock: Clock,
        policy: RetryPolicy | None = None,
        batch_max: int = 100,
        at_once: int = 16,
        ttl_s: float = 45.0,
    ) -> None:
        self._store = store
        self._reports = reports
        self._sender = sender
        self._holder = holder
        self._clock = clock
        self._policy = policy or RetryPolicy()
        self._batch_max = batch_max
        self._at_once = at_once
        self._ttl_s = max(ttl_s, 3 * sender.timeout_s)
        self._until: datetime | None = None
        self._running: dict[str, asyncio.Task[None]] = {}
        self._tenants: Counter[str] = Counter()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="webhooks")

    async def tick(self) -> None:
        """One round of upkeep: keep the lease, start what is due. Does not wait for receivers."""
        try:
            self._until = await self._in_thread(self._store.hold_relay, self._holder, self._ttl_s)
            if self._until is None or len(self._running) >= self._at_once:
                return
            due = await self._in_thread(self._store.due, _LOOK_MAX)
        except SQLAlchemyError as error:
            log.warning("webhooks: the database is away, trying again: %s", error)
            return
        for webhook in due:
            if self._has_room_for(webhook):
                self._tenants[webhook.tenant_id] += 1
                task = asyncio.create_task(self._deliver(webhook))
                self._running[webhook.id] = task
                task.add_done_callback(partial(self._ended, webhook))

    def _has_room_for(self, webhook: Webhook) -> bool:
        """One tenant's slow receivers leave room for the others'."""
        return (
            webhook.id not in self._running
            and len(self._running) < self._at_once
            and self._tenants[webhook.tenant_id] < max(1, self._at_once // 4)
        )

    def _ended(self, webhook: Webhook, _: asyncio.Task[None]) -> None:
        self._running.pop(webhook.id, None)
        self._tenants[webhook.tenant_id] -= 1
        if not self._tenants[webhook.tenant_id]:
            del self._tenants[webhook.tenant_id]

    async def _in_thread(self, work: Callable[..., T], *arguments: object) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(work, *arguments))

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def close(self) -> None:
        """Stop at once; what was under way is sent again by whoever goes on."""
        for task in self._running.values():
            task.cancel()
        await self.settle()
        if self._until is not None:
            try:
                await self._in_thread(self._store.release_relay, self._holder)
            except SQLAlchemyError:
                log.warning("webhooks: closed without the database; the lease will expire")
        self._threads.shutdown(wait=False)
        await self._sender.close()

    async def _deliver(self, webhook: Webhook) -> None:
        """Batch after batch, until there is none left, one fails, or it is others' turn."""
        following: Webhook | None = webhook
        try:
            for _ in range(_BATCHES_A_TURN):
                if following is None or not self._may_send():
                    break
                following = await self._deliver_batch(following)
        except SQLAlchemyError as error:
            log.warning("webhooks: %s is left for later: %s", webhook.id, error)
        except Exception:
            log.exception("webhooks: %s failed", webhook.id)

    def _may_send(self) -> bool:
        """Whether the lease outlives an attempt."""
        room = timedelta(seconds=1.5 * self._sender.timeout_s)
        return self._until is not None and self._until > self._clock.now() + room

    async def _deliver_batch(self, webhook: Webhook) -> Webhook | None:
        """The webhook as it is after a success with more to send; None otherwise."""
        events = await self._next(webhook)
        if not events:
            return None
        last = events[-1].cursor
        if not await self._in_thread(self._store.begin, webhook, last):
            return None
        body = json.dumps(
            to_cloudevents_batch(events, source=SOURCE), ensure_ascii=False, separators=(",", ":")
        ).encode()
        attempt = await self._sender.send(
            webhook.url,
            webhook.secret,
            f"msg_{webhook.id}_{events[0].cursor}_{last}",
            body,
            int(self._clock.now().timestamp()),
        )
        if attempt.reason is not None:
            await self._failed(webhook, attempt)
            return None
        metrics.webhook_attempt("delivered")
        if not await self._in_thread(self._store.succeeded, webhook, last, len(events)):
            return None
        return replace(webhook, cursor=last, sending_to=None, failures=0, reason=None)

    async def _next(self, webhook: Webhook) -> Sequence[RecordedEvent]:
        events = await self._in_thread(
            self._reports.events, webhook.tenant_id, webhook.cursor, self._batch_max
        )
        if webhook.sending_to is None:
            return events
        return [event for event in events if event.cursor <= webhook.sending_to]

    async def _failed(self, webhook: Webhook, attempt: Attempt) -> None:
        assert attempt.reason is not None
        failures = webhook.failures + 1
        park = attempt.gone or failures >= self._policy.failures_max
        metrics.webhook_attempt("parked" if park else "failed")
        wait_s = None if park else self._policy.wait_s(failures, random.random())
        log.info("webhooks: %s: %s (%d in a row)", webhook.id, attempt.reason, failures)
        await self._in_thread(self._store.failed, webhook, attempt.reason, wait_s)
