"""The ledger's effects: it writes what ``rules`` decides, in transactions of whole groups.

Guarantees. A group that ``apply`` returned is on disk. One that raised anything but
``CommitUnknown`` left no trace. Writers, in any number of processes, run one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, func, select, update
from sqlalchemy.exc import SQLAlchemyError

from xingyue.clock import Clock, SystemClock
from xingyue.errors import Conflict, InvalidRequest
from xingyue.ledger import accounts, claims, holds, leasing, posting, rules, securing
from xingyue.ledger import sessions as session_rules
from xingyue.ledger.accounts import FundingSource
from xingyue.ledger.journal import Journal
from xingyue.ledger.operations import (
    Batch,
    Claim,
    CloseSession,
    GiveBack,
    Grant,
    Heartbeat,
    OpenSession,
    Operation,
    Post,
    Reserve,
    Reverse,
    Secure,
    Void,
)
from xingyue.ledger.sessions import Session
from xingyue.ledger.tables import accounts as accounts_table
from xingyue.ledger.tables import leases, sessions, transfers
from xingyue.storage.database import WRITE_OPTION, begin_read, begin_write
from xingyue.storage.trips import Change

Handler = Callable[[Journal, Session, Sequence[Any]], Sequence[Any]]

_PHASES: tuple[tuple[type[Operation[Any]], Handler], ...] = (
    (OpenSession, session_rules.open_sessions),
    (Heartbeat, session_rules.heartbeats),
    (Claim, claims.claim_all),
    (Post, posting.post_all),
    (Reverse, posting.reverse_all),
    (Void, holds.void_all),
    (Reserve, holds.reserve_all),
    (Secure, securing.secure_all),
    (Grant, leasing.grant_all),
    (GiveBack, leasing.give_back_all),
    (CloseSession, session_rules.close_sessions),
)
"""The order within a group: what was earned first, then what frees money, then what takes it."""

_SET_LAST_BATCH = Change(
    update(sessions)
    .where(sessions.c.id == bindparam("session"))
    .values(last_batch=bindparam("number"))
)


class CommitUnknown(Exception):
    """The commit was sent and its answer lost. ``outcomes`` hold if ``was_committed`` says so."""

    def __init__(self, outcomes: list[Any]) -> None:
        super().__init__("the outcome of a commit is not known")
        self.outcomes = outcomes


@dataclass(frozen=True, slots=True)
class Balance:
    """A tenant's money, in micros. Held is what leases and holds of streams have set aside."""

    cash_micros: int
    held_micros: int
    leased_micros: int
    """The part of held that sits unused in gateways' leases."""

    @property
    def available_micros(self) -> int:
        """What new calls may still spend."""
        return self.cash_micros + self.leased_micros


class LedgerStore:
    """Synchronous and safe to share between threads. The schema must exist."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    def apply(self, batch: Batch) -> list[Any]:
        """One outcome per operation, in order, all durable. ``CommitUnknown`` if the database
        went away under the commit; any other exception means that nothing was written."""
        with self._engine.connect() as connection:
            connection.execution_options(**{WRITE_OPTION: True})
            transaction = connection.begin()
            try:
                outcomes = self._run(connection, batch)
            except BaseException:
                transaction.rollback()
                raise
            try:
                self._commit(connection)
            except SQLAlchemyError as error:
                connection.invalidate()
                raise CommitUnknown(outcomes) from error
            return outcomes

    def _run(self, connection: Connection, batch: Batch) -> list[Any]:
        journal = _journal(connection, self._clock.now(), batch)
        session = session_rules.load(journal, batch.session_id)
        outcomes: list[Any] = [None] * len(batch.operations)
        for kind, handler in _PHASES:
            chosen = [i for i, item in enumerate(batch.operations) if type(item) is kind]
            if not chosen:
                continue
            journal.end_phase()
            results = handler(journal, session, [batch.operations[i] for i in chosen])
            for i, result in zip(chosen, results, strict=True):
                outcomes[i] = result
        journal.later(_SET_LAST_BATCH, [{"session": batch.session_id, "number": batch.number}])
        journal.flush()
        return outcomes

    def _commit(self, connection: Connection) -> None:
        """Apart, so that a fault can be put before or after it in a test."""
        transaction = connection.get_transaction()
        assert transaction is not None
        transaction.commit()

    def was_committed(self, batch: Batch) -> bool:
        """Whether a group whose commit was in doubt is on disk. It takes the writers' lock, so
        a commit still under way in the server has ended, one way or the other."""
        with begin_write(self._engine) as connection:
            Journal(connection, self._clock.now())
            last = connection.scalar(
                select(sessions.c.last_batch).where(sessions.c.id == batch.session_id)
            )
            return last is not None and int(last) >= batch.number

    def top_up(
        self,
        tenant_id: str,
        amount_micros: int,
        reference: str,
        *,
        source: FundingSource = FundingSource.PAYMENT,
    ) -> bool:
        """Credit a tenant's cash, once per reference: True if this call did it, False if it was
        done before. ``Conflict`` if the reference stands for another amount or source."""
        rules.check_amount(amount_micros, param="amount_micros", minimum=1)
        if not 0 < len(reference) <= 128 or "\0" in reference:
            raise InvalidRequest(
                "reference must be 1 to 128 characters, such as the number of the payment; "
                "it makes a repeated top-up harmless",
                param="reference",
            )
        debit, credit = accounts.funding(source), accounts.cash(tenant_id)
        with begin_write(self._engine) as connection:
            journal = Journal(connection, self._clock.now())
            known = connection.execute(
                select(transfers.c.debit, transfers.c.amount_micros).where(
                    transfers.c.credit == credit, transfers.c.reference == reference
                )
            ).one_or_none()
            if known is None:
                journal.transfer(debit, credit, amount_micros, "top_up", reference=reference)
                journal.flush()
                return True
            if (known.debit, known.amount_micros) == (debit, amount_micros):
                return False
            raise Conflict(
                f"reference {reference!r} was already used for a top-up of {known.amount_micros} "
                f"micros from {known.debit}; use a new reference for a new top-up",
                code="reference_reused",
                param="reference",
            )

    def balance(self, tenant_id: str) -> Balance:
        """Zeros for a tenant that never had money."""
        names = accounts.cash(tenant_id), accounts.held(tenant_id)
        with begin_read(self._engine) as connection:
            stored = {
                row.id: row.balance_micros
                for row in connection.execute(
                    select(accounts_table).where(accounts_table.c.id.in_(names))
                )
            }
            leased = connection.scalar(
                select(
                    func.coalesce(func.sum(leases.c.amount_micros - leases.c.consumed_micros), 0)
                ).where(leases.c.tenant_id == tenant_id, leases.c.state == rules.LeaseState.ACTIVE)
            )
        return Balance(stored.get(names[0], 0), stored.get(names[1], 0), int(leased or 0))

    def recalled_leases(self, session_id: str) -> list[str]:
        """Leases of the session that another gateway needs money from."""
        with begin_read(self._engine) as connection:
            return list(
                connection.scalars(
                    select(leases.c.id).where(
                        leases.c.session_id == session_id,
                        leases.c.state == rules.LeaseState.ACTIVE,
                        leases.c.recalled.is_(True),
                    )
                )
            )

    def reclaim_expired(self) -> None:
        """Take back what dead gateways hold; any gateway's heartbeat does it too."""
        with begin_write(self._engine) as connection:
            journal = Journal(connection, self._clock.now())
            session_rules.reclaim_expired(journal)
            journal.flush()

    def purge_idempotency(self) -> int:
        """Delete some answers past their retention (24 h); how many."""
        with begin_write(self._engine) as connection:
            journal = Journal(connection, self._clock.now())
            return claims.purge(journal, journal.now)


def _journal(connection: Connection, now: datetime, batch: Batch) -> Journal:
    """With what the group's postings will look at, unless what comes before them might change it:
    a heartbeat lets holds expire, and what they had left goes back into leases."""
    posts = [item for item in batch.operations if isinstance(item, Post)]
    if not posts or any(isinstance(item, OpenSession | Heartbeat) for item in batch.operations):
        return Journal(connection, now, batch.session_id)
    return Journal(
        connection,
        now,
        batch.session_id,
        ahead=posting.reads(posts, batch.session_id),
        accounts_ahead=posting.accounts_of(posts),
    )
