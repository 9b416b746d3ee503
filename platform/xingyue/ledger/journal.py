"""One writing transaction of the ledger: the head lock, numbered rows, balances.

The head row is locked first, so writers on any database run one at a time and numbers are given
in the order of commits, without gaps. Group commit makes that cheap: one transaction carries
hundreds of postings. Rows are buffered and written once, by ``flush``. On PostgreSQL a group of
postings takes three trips: lock and reads, writes, commit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Executable, String, bindparam, select, update

from xingyue.errors import IntegrityError
from xingyue.ledger.accounts import is_funding
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.tables import accounts, ledger_head, sessions, transfers, usage_events
from xingyue.storage.database import to_epoch_micros
from xingyue.storage.trips import (
    Change,
    Query,
    change,
    insert_rows,
    one_trip,
    read,
    read_together,
    upsert_rows,
)

# Built once: on a small group, building a statement costs more than running it.
_HEAD_AND_SESSION = Query(
    lambda _: select(
        ledger_head.c.transfer_seq, ledger_head.c.event_seq, sessions.c.gateway_id, sessions.c.state
    ).select_from(
        ledger_head.outerjoin(sessions, sessions.c.id == bindparam("session", type_=String))
    )
)
# PostgreSQL takes two: one that waits for the lock sees what it joins as it was before.
_HEAD = Query(
    lambda _: select(ledger_head.c.transfer_seq, ledger_head.c.event_seq).with_for_update()
)
_SESSION = Query(
    lambda _: select(sessions.c.gateway_id, sessions.c.state).where(
        sessions.c.id == bindparam("session", type_=String)
    )
)
_BALANCES = Query(
    lambda among: select(accounts.c.id, accounts.c.balance_micros).where(
        among(accounts.c.id, "names")
    )
)
_SET_HEAD = Change(
    update(ledger_head).values(transfer_seq=bindparam("transfers"), event_seq=bindparam("events"))
)

Read = tuple[Query, Mapping[str, Any]]


class Journal:
    """Not shared between threads; lives as long as its transaction."""

    def __init__(
        self,
        connection: Connection,
        now: datetime,
        session_id: str | None = None,
        *,
        ahead: Sequence[Read] = (),
        accounts_ahead: Iterable[str] = (),
    ) -> None:
        """``ahead``: what ``rows`` will be asked for; ``accounts_ahead``: whose balances. Where the
        database is a trip away they are read with the lock, else when they are asked for."""
        self.connection = connection
        self.now = now
        self.gateway_id: str | None = None
        """Of the given session, with its state; None if there is no such session."""
        self.session_state: str | None = None
        self._stored: dict[str, int | None] = {}
        self._deltas: defaultdict[str, int] = defaultdict(int)
        self._transfers: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []
        self._event_seq = 0
        self._transfer_seq = 0
        self._later: list[tuple[Executable | Change, Sequence[dict[str, Any]]]] = []
        self._ahead: dict[Query, tuple[Mapping[str, Any], Sequence[Any]]] = {}
        if connection.dialect.name == "postgresql":
            self._begin_together(session_id, ahead, sorted(set(accounts_ahead)))
        else:
            # SQLite's transaction began with the lock.
            (head,) = read(connection, _HEAD_AND_SESSION, {"session": session_id})
            self._transfer_seq, self._event_seq, self.gateway_id, self.session_state = head

    def _begin_together(
        self, session_id: str | None, ahead: Sequence[Read], names: Sequence[str]
    ) -> None:
        head, session, balances, *rest = read_together(
            self.connection,
            [
                (_HEAD, {}),
                (_SESSION, {"session": session_id}),
                (_BALANCES, {"names": names}),
                *ahead,
            ],
        )
        self._transfer_seq, self._event_seq = head[0]
        if session:
            self.gateway_id, self.session_state = session[0]
        self._keep(names, balances)
        for (query, parameters), rows in zip(ahead, rest, strict=True):
            self._ahead[query] = (parameters, rows)

    def rows(self, query: Query, parameters: Mapping[str, Any]) -> Sequence[Any]:
        """The query's rows, as tuples; once, those that were read ahead with these parameters."""
        known = self._ahead.pop(query, None)
        if known is not None and known[0] == parameters:
            return known[1]
        return read(self.connection, query, parameters)

    def later(self, statement: Executable | Change, parameters: Sequence[dict[str, Any]]) -> None:
        """Write this before the next phase or with ``flush``, whichever comes first."""
        self._later.append((statement, parameters))

    def end_phase(self) -> None:
        """What comes next may look at what was to be written later."""
        pending, self._later = self._later, []
        for statement, parameters in pending:
            if isinstance(statement, Change):
                change(self.connection, statement, parameters)
            else:
                self.connection.execute(statement, parameters)

    def load(self, account_ids: Iterable[str]) -> None:
        """Read balances in one query; those not loaded are read one by one."""
        missing = sorted({name for name in account_ids if name not in self._stored})
        if missing:
            self._keep(missing, read(self.connection, _BALANCES, {"names": missing}))

    def _keep(self, names: Sequence[str], found: Sequence[Any]) -> None:
        self._stored.update(dict.fromkeys(names))
        self._stored.update((name, balance) for name, balance in found)

    def balance_micros(self, account: str) -> int:
        """With this transaction's own transfers; 0 for an account not used yet."""
        self.load((account,))
        return (self._stored[account] or 0) + self._deltas[account]

    def transfer(
        self,
        debit: str,
        credit: str,
        amount_micros: int,
        kind: str,
        *,
        event_id: str | None = None,
        reference: str | None = None,
    ) -> None:
        """Move ``amount_micros`` (>= 0; nothing is written for 0) from debit to credit."""
        if amount_micros == 0:
            return
        self._transfer_seq += 1
        self._deltas[debit] -= amount_micros
        self._deltas[credit] += amount_micros
        self._transfers.append(
            {
                "id": self._transfer_seq,
                "debit": debit,
                "credit": credit,
                "amount_micros": amount_micros,
                "kind": kind,
                "event_id": event_id,
                "reference": reference,
                "created_at": to_epoch_micros(self.now),
            }
        )

    def has(self, reference: str) -> bool:
        """Whether this transaction itself moved money under the reference."""
        return any(row["reference"] == reference for row in self._transfers)

    def record(self, event: UsageEvent, gateway_id: str) -> None:
        """Append the event."""
        self._event_seq += 1
        self._events.append(
            {
                "cursor": self._event_seq,
                "id": event.id,
                "tenant_id": event.tenant_id,
                "key_id": event.key_id,
                "model": event.model,
                "version": event.version,
                "unit": event.unit,
                "units": event.units,
                "cost_micros": event.cost_micros,
                "request_id": event.request_id,
                "created_at": to_epoch_micros(event.created_at),
                "gateway_id": gateway_id,
                "kind": event.kind,
                "price_id": event.price_id,
            }
        )

    def flush(self) -> None:
        """Write everything. ``IntegrityError`` (nothing written) if an account would go negative:
        the rules forbid it, so it is a fault of ours."""
        self.load(self._deltas)
        for name in self._deltas:
            if self.balance_micros(name) < 0 and not is_funding(name):
                raise IntegrityError(f"account {name} would be overdrawn", code="overdrawn")
        with one_trip(self.connection):
            insert_rows(self.connection, usage_events, self._events)
            insert_rows(self.connection, transfers, self._transfers)
            upsert_rows(
                self.connection,
                accounts,
                [
                    {"id": name, "balance_micros": self.balance_micros(name)}
                    for name in sorted(self._deltas)
                ],
                key="id",
            )
            if self._events or self._transfers:
                change(
                    self.connection,
                    _SET_HEAD,
                    [{"transfers": self._transfer_seq, "events": self._event_seq}],
                )
            self.end_phase()
