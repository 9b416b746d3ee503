"""Idempotency keys in the database: claimed, finished, released, purged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Row, String, bindparam, delete, or_, select, update

from xingyue.ledger.idempotency import RETENTION_S, PackedResponse, unpack
from xingyue.ledger.journal import Journal
from xingyue.ledger.operations import Claim, Claimed, ClaimRefused, Replay, SessionLost
from xingyue.ledger.rules import (
    ClaimFacts,
    ClaimState,
    ClaimVerdict,
    SessionState,
    judge_claim,
)
from xingyue.ledger.tables import idempotency, sessions
from xingyue.storage.database import insert_ignore
from xingyue.storage.trips import Query

if TYPE_CHECKING:
    from xingyue.ledger.sessions import Session

_PURGE_MAX_ROWS = 1000

_ALIVE = Query(
    lambda among: select(idempotency.c.claim).where(
        among(idempotency.c.claim, "tokens"),
        idempotency.c.state == bindparam("state", type_=String),
    )
)
_FINISH = (
    update(idempotency)
    .where(idempotency.c.claim == bindparam("token"))
    .values(
        state=ClaimState.FINISHED,
        event_id=bindparam("event"),
        response_status=bindparam("status"),
        response_headers=bindparam("headers"),
        response_body=bindparam("body"),
    )
)

ClaimOutcome = Claimed | ClaimRefused | Replay | SessionLost


def claim_all(
    journal: Journal, session: Session, operations: Sequence[Claim]
) -> list[ClaimOutcome]:
    """The first to insert a key owns it; for the others the row that is there is judged."""
    if not session.active:
        return [SessionLost() for _ in operations]
    journal.connection.execute(
        insert_ignore(journal.connection, idempotency),
        [_row(journal, session, claim) for claim in operations],
    )
    owned = alive(journal, [claim.token for claim in operations])
    return [
        Claimed(claim.token) if claim.token in owned else _judge(journal, session, claim)
        for claim in operations
    ]


def _row(journal: Journal, session: Session, claim: Claim) -> dict[str, Any]:
    return {
        "tenant_id": claim.tenant_id,
        "key": claim.idempotency.key,
        "claim": claim.token,
        "request_hash": claim.idempotency.request_hash,
        "session_id": session.id,
        "state": ClaimState.RUNNING,
        "created_at": journal.now,
        "expires_at": journal.now + timedelta(seconds=RETENTION_S),
    }


def _judge(journal: Journal, session: Session, claim: Claim) -> ClaimOutcome:
    mine = (idempotency.c.tenant_id == claim.tenant_id) & (
        idempotency.c.key == claim.idempotency.key
    )
    row = journal.connection.execute(select(idempotency).where(mine)).one()
    facts = ClaimFacts(
        request_hash=row.request_hash,
        state=ClaimState(row.state),
        expires_at=row.expires_at,
        holder_alive=_holder_alive(journal, row),
    )
    verdict = judge_claim(facts, claim.idempotency.request_hash, journal.now)
    if verdict is ClaimVerdict.REPLAY:
        packed = PackedResponse(row.response_status, row.response_headers, row.response_body)
        return Replay(unpack(packed, row.event_id), row.event_id)
    if verdict is not ClaimVerdict.TAKE_OVER:
        return ClaimRefused(verdict)
    journal.connection.execute(
        update(idempotency)
        .where(mine)
        .values(
            **_row(journal, session, claim),
            response_status=None,
            response_headers=None,
            response_body=None,
            event_id=None,
        )
    )
    return Claimed(claim.token)


def _holder_alive(journal: Journal, row: Row[Any]) -> bool:
    holder = journal.connection.execute(
        select(sessions.c.state, sessions.c.expires_at).where(sessions.c.id == row.session_id)
    ).one_or_none()
    return (
        holder is not None
        and holder.state == SessionState.ACTIVE
        and holder.expires_at > journal.now
    )


def alive(journal: Journal, tokens: Iterable[str]) -> set[str]:
    """Those tokens that still own their key."""
    wanted = set(tokens)
    if not wanted:
        return set()
    parameters = {"tokens": sorted(wanted), "state": ClaimState.RUNNING.value}
    return {token for (token,) in journal.rows(_ALIVE, parameters)}


def finish(journal: Journal, finished: Sequence[tuple[str, str, PackedResponse | None]]) -> None:
    """Store the answers: (token, event id, answer) each."""
    if not finished:
        return
    journal.later(
        _FINISH,
        [
            {
                "token": token,
                "event": event_id,
                "status": response.status if response else None,
                "headers": response.headers if response else None,
                "body": response.body if response else None,
            }
            for token, event_id, response in finished
        ],
    )


def release(journal: Journal, tokens: Sequence[str]) -> None:
    """Free keys whose call failed. One that finished or was taken over is left alone."""
    if tokens:
        journal.connection.execute(
            delete(idempotency).where(
                idempotency.c.claim.in_(tokens), idempotency.c.state == ClaimState.RUNNING
            )
        )


def release_event(journal: Journal, event_id: str, tenant_id: str) -> None:
    """Forget the answer of an event that is being reversed."""
    journal.connection.execute(
        delete(idempotency).where(
            idempotency.c.tenant_id == tenant_id, idempotency.c.event_id == event_id
        )
    )


def purge(journal: Journal, now: datetime) -> int:
    """Delete some keys past their retention; how many. A running one stays while its gateway
    lives."""
    living = select(sessions.c.id).where(sessions.c.state == SessionState.ACTIVE)
    old = (
        select(idempotency.c.claim)
        .where(
            idempotency.c.expires_at <= now,
            or_(
                idempotency.c.state == ClaimState.FINISHED,
                idempotency.c.session_id.not_in(living),
            ),
        )
        .limit(_PURGE_MAX_ROWS)
    )
    return journal.connection.execute(
        delete(idempotency).where(idempotency.c.claim.in_(old))
    ).rowcount
