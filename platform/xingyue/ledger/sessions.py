"""Gateway sessions in the database: liveness, and taking back what the dead have left.

Expiry is judged by wall clocks, which may differ between nodes. That only moves the moment of
reclaiming: every posting checks, in its own transaction, that its lease was not reclaimed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, insert, select, update

from xingyue.ledger import accounts, holds
from xingyue.ledger.journal import Journal
from xingyue.ledger.operations import (
    CloseSession,
    Heartbeat,
    OpenSession,
    SessionLost,
    SessionOpened,
)
from xingyue.ledger.rules import LeaseState, SessionState
from xingyue.ledger.tables import leases, sessions


@dataclass(frozen=True, slots=True)
class Session:
    """The session of a batch, as its transaction found it."""

    id: str
    gateway_id: str
    active: bool


def load(journal: Journal, session_id: str) -> Session:
    """The journal's session; one that was never opened counts as not active."""
    return Session(
        session_id, journal.gateway_id or "", journal.session_state == SessionState.ACTIVE
    )


def open_sessions(
    journal: Journal, session: Session, operations: Sequence[OpenSession]
) -> list[SessionOpened]:
    return [_open(journal, operation) for operation in operations]


def _open(journal: Journal, operation: OpenSession) -> SessionOpened:
    session_id = operation.session_id
    if operation.previous is not None:
        holds.hand_over(journal, operation.previous, session_id)
    for fenced in journal.connection.scalars(
        select(sessions.c.id).where(
            sessions.c.gateway_id == operation.gateway_id,
            sessions.c.state == SessionState.ACTIVE,
        )
    ).all():
        end(journal, fenced, SessionState.DEAD)
        holds.expire_session(journal, fenced)
    expires_at = journal.now + timedelta(seconds=operation.ttl_s)
    journal.connection.execute(
        insert(sessions).values(
            id=session_id,
            gateway_id=operation.gateway_id,
            state=SessionState.ACTIVE,
            last_batch=0,
            started_at=journal.now,
            renewed_at=journal.now,
            expires_at=expires_at,
        )
    )
    reclaim_expired(journal)
    return SessionOpened(expires_at)


def heartbeats(
    journal: Journal, session: Session, operations: Sequence[Heartbeat]
) -> list[SessionOpened | SessionLost]:
    return [_heartbeat(journal, session, operation) for operation in operations]


def _heartbeat(
    journal: Journal, session: Session, operation: Heartbeat
) -> SessionOpened | SessionLost:
    if not session.active:
        return SessionLost()
    expires_at = journal.now + timedelta(seconds=operation.ttl_s)
    journal.connection.execute(
        update(sessions)
        .where(sessions.c.id == session.id)
        .values(renewed_at=journal.now, expires_at=expires_at)
    )
    holds.renew(journal, session.id, operation.hold_ttl_s)
    reclaim_expired(journal)
    return SessionOpened(expires_at)


def close_sessions(
    journal: Journal, session: Session, operations: Sequence[CloseSession]
) -> list[None]:
    for operation in operations:
        end(journal, operation.session_id, SessionState.CLOSED)
        holds.expire_session(journal, operation.session_id)
    return [None] * len(operations)


def reclaim_expired(journal: Journal, *, keep: str | None = None) -> None:
    """Take back the leases of gateways that stopped renewing, and holds past their time. ``keep``
    is the session that asks: it is alive, whatever its row says."""
    for dead in journal.connection.scalars(
        select(sessions.c.id).where(
            sessions.c.state == SessionState.ACTIVE,
            sessions.c.expires_at <= journal.now,
            sessions.c.id != (keep or ""),
        )
    ).all():
        end(journal, dead, SessionState.DEAD)
    holds.expire(journal)


def end(journal: Journal, session_id: str, state: SessionState) -> None:
    """Close or bury an active session. What its leases have not consumed returns to cash: exactly
    known, since every posting updates its lease in its own transaction."""
    connection = journal.connection
    ended = connection.execute(
        update(sessions)
        .where(sessions.c.id == session_id, sessions.c.state == SessionState.ACTIVE)
        .values(state=state)
    )
    if ended.rowcount == 0:
        return
    lease_state = LeaseState.CLOSED if state is SessionState.CLOSED else LeaseState.RECLAIMED
    mine = _active_leases_of(session_id)
    for lease in connection.execute(select(leases).where(mine)).all():
        journal.transfer(
            accounts.held(lease.tenant_id),
            accounts.cash(lease.tenant_id),
            lease.amount_micros - lease.consumed_micros,
            "reclaim",
        )
    connection.execute(
        update(leases).where(mine).values(state=lease_state, amount_micros=leases.c.consumed_micros)
    )


def _active_leases_of(session_id: str) -> ColumnElement[bool]:
    return (leases.c.session_id == session_id) & (leases.c.state == LeaseState.ACTIVE)
