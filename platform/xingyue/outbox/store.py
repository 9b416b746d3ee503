"""Webhooks in the database: made, listed, moved on, parked, resumed. Synchronous."""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row, delete, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError as DuplicateError

from xingyue.clock import Clock, SystemClock
from xingyue.errors import InvalidRequest, NotFound
from xingyue.ledger.tables import ledger_head, usage_events
from xingyue.outbox import rules, signing
from xingyue.outbox.models import Webhook, WebhookState
from xingyue.outbox.tables import relay, subscriptions
from xingyue.storage.database import begin_read, begin_write

_REASON_MAX = 500


class WebhookStore:
    """Safe to share between threads. The schema must exist."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    def create(self, tenant_id: str, url: str, cursor: int | None = None) -> Webhook:
        """From the next event on, or from the one after ``cursor``. InvalidRequest for a URL that
        can't be, or too many of one tenant."""
        rules.check_url(url)
        now = self._clock.now()
        with begin_write(self._engine) as connection:
            mine = subscriptions.c.tenant_id == tenant_id
            count = connection.scalar(select(func.count()).select_from(subscriptions).where(mine))
            if int(count or 0) >= rules.PER_TENANT_MAX:
                raise InvalidRequest(
                    f"a tenant has at most {rules.PER_TENANT_MAX} webhooks; delete one first",
                    code="too_many_webhooks",
                    param="url",
                )
            head = int(connection.scalar(select(ledger_head.c.event_seq)) or 0)
            _check_cursor(cursor, head)
            row = {
                "id": f"wh_{secrets.token_hex(12)}",
                "tenant_id": tenant_id,
                "url": url,
                "secret": signing.new_secret(),
                "state": WebhookState.ACTIVE,
                "cursor": head if cursor is None else cursor,
                "sending_to": None,
                "failures": 0,
                "due_at": now,
                "reason": None,
                "delivered": 0,
                "delivered_at": None,
                "created_at": now,
            }
            connection.execute(insert(subscriptions).values(**row))
        return Webhook(**row)  # type: ignore[arg-type]

    def of_tenant(self, tenant_id: str) -> list[Webhook]:
        """Oldest first."""
        query = select(subscriptions).where(subscriptions.c.tenant_id == tenant_id)
        with begin_read(self._engine) as connection:
            rows = connection.execute(
                query.order_by(subscriptions.c.created_at, subscriptions.c.id)
            )
            return [_webhook(row) for row in rows]

    def get(self, tenant_id: str, webhook_id: str) -> Webhook:
        with begin_read(self._engine) as connection:
            row = connection.execute(
                select(subscriptions).where(_mine(tenant_id, webhook_id))
            ).one_or_none()
        if row is None:
            raise _unknown(webhook_id)
        return _webhook(row)

    def delete(self, tenant_id: str, webhook_id: str) -> None:
        with begin_write(self._engine) as connection:
            gone = connection.execute(delete(subscriptions).where(_mine(tenant_id, webhook_id)))
            if gone.rowcount == 0:
                raise _unknown(webhook_id)

    def redeliver(self, tenant_id: str, webhook_id: str, cursor: int | None = None) -> Webhook:
        """Send again from the event after ``cursor``, at once, parked or not. None: go on where it
        stopped."""
        with begin_write(self._engine) as connection:
            head = int(connection.scalar(select(ledger_head.c.event_seq)) or 0)
            _check_cursor(cursor, head)
            values: dict[str, Any] = {
                "state": WebhookState.ACTIVE,
                "failures": 0,
                "due_at": self._clock.now(),
                "reason": None,
            }
            if cursor is not None:
                values |= {"cursor": cursor, "sending_to": None}
            changed = connection.execute(
                update(subscriptions).where(_mine(tenant_id, webhook_id)).values(**values)
            )
            if changed.rowcount == 0:
                raise _unknown(webhook_id)
        return self.get(tenant_id, webhook_id)

    # --- the relay's side ------------------------------------------------------------------------

    def hold_relay(self, holder: str, ttl_s: float) -> datetime | None:
        """Become or stay the one process that sends: until when, or None if another one is."""
        now = self._clock.now()
        with begin_read(self._engine) as connection:
            row = connection.execute(select(relay)).one_or_none()
        if row is not None and row.holder != holder and row.expires_at > now:
            return None
        if row is not None and row.holder == holder and row.expires_at > now + _half(ttl_s):
            kept: datetime = row.expires_at
            return kept
        until = now + timedelta(seconds=ttl_s)
        try:
            with begin_write(self._engine) as connection:
                if row is None:
                    connection.execute(insert(relay).values(id=1, holder=holder, expires_at=until))
                    return until
                taken = connection.execute(
                    update(relay)
                    .where(
                        relay.c.id == 1,
                        (relay.c.holder == holder) | (relay.c.expires_at <= now),
                    )
                    .values(holder=holder, expires_at=until)
                )
        except DuplicateError:
            # Another process made the first row at the same moment.
            return None
        return until if taken.rowcount else None

    def release_relay(self, holder: str) -> None:
        with begin_write(self._engine) as connection:
            connection.execute(delete(relay).where(relay.c.holder == holder))

    def due(self, limit: int) -> list[Webhook]:
        """Active, with events to send and no wait left; the longest waiting first."""
        waiting = exists().where(
            usage_events.c.tenant_id == subscriptions.c.tenant_id,
            usage_events.c.cursor > subscriptions.c.cursor,
        )
        query = (
            select(subscriptions)
            .where(
                subscriptions.c.state == WebhookState.ACTIVE,
                subscriptions.c.due_at <= self._clock.now(),
                waiting,
            )
            .order_by(subscriptions.c.due_at)
            .limit(limit)
        )
        with begin_read(self._engine) as connection:
            return [_webhook(row) for row in connection.execute(query)]

    def begin(self, webhook: Webhook, last: int) -> bool:
        """Note which batch is about to be sent, so that a retry sends the same one. False if the
        webhook was deleted, parked or moved meanwhile."""
        return self._change(webhook, sending_to=last)

    def succeeded(self, webhook: Webhook, last: int, count: int) -> bool:
        """Move on. False as ``begin``; then the receiver gets the batch again, or not at all."""
        return self._change(
            webhook,
            cursor=last,
            sending_to=None,
            failures=0,
            reason=None,
            due_at=self._clock.now(),
            delivered=subscriptions.c.delivered + count,
            delivered_at=self._clock.now(),
        )

    def failed(self, webhook: Webhook, reason: str, wait_s: float | None) -> bool:
        """Try again after ``wait_s``; None parks it."""
        now = self._clock.now()
        values: dict[str, Any] = {"failures": webhook.failures + 1, "reason": reason[:_REASON_MAX]}
        if wait_s is None:
            values["state"] = WebhookState.PARKED
        else:
            values["due_at"] = now + timedelta(seconds=wait_s)
        return self._change(webhook, **values)

    def _change(self, webhook: Webhook, **values: Any) -> bool:
        # Its owner may have moved the cursor or resumed it while a batch was under way.
        unchanged = (
            (subscriptions.c.id == webhook.id)
            & (subscriptions.c.cursor == webhook.cursor)
            & (subscriptions.c.state == WebhookState.ACTIVE)
        )
        with begin_write(self._engine) as connection:
            changed = connection.execute(update(subscriptions).where(unchanged).values(**values))
        return bool(changed.rowcount)


def _half(ttl_s: float) -> timedelta:
    return timedelta(seconds=ttl_s / 2)


def _check_cursor(cursor: int | None, head: int) -> None:
    if cursor is not None and not 0 <= cursor <= head:
        raise InvalidRequest(
            f"cursor must be within 0..{head}, that of the newest event; got {cursor}",
            param="cursor",
        )


def _mine(tenant_id: str, webhook_id: str) -> Any:
    return (subscriptions.c.id == webhook_id) & (subscriptions.c.tenant_id == tenant_id)


def _unknown(webhook_id: str) -> NotFound:
    return NotFound(
        f"there is no webhook {webhook_id!r} of yours; GET /v1/webhooks lists them",
        code="webhook_not_found",
        param="id",
    )


def _webhook(row: Row[Any]) -> Webhook:
    values = dict(row._mapping)
    values["state"] = WebhookState(values["state"])
    return Webhook(**values)
