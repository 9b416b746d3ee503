"""One writing transaction of the ledger: the head lock, numbered rows, balances.

The head row is locked first, so writers on any database run one at a time and numbers are given
in the order of commits, without gaps. Group commit makes that cheap: one transaction carries
hundreds of postings. Rows are buffered and written once, by ``flush``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from xingyue.errors import IntegrityError
from xingyue.ledger.accounts import is_funding
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.tables import accounts, ledger_head, sessions, transfers, usage_events

# Built once: on a small group, building a statement costs more than running it.
_LOCK_HEAD = (
    select(
        ledger_head.c.transfer_seq, ledger_head.c.event_seq, sessions.c.gateway_id, sessions.c.state
    )
    .select_from(ledger_head.outerjoin(sessions, sessions.c.id == bindparam("session")))
    .with_for_update(of=ledger_head)
)
_HEAD = select(ledger_head.c.transfer_seq, ledger_head.c.event_seq).with_for_update()
_SESSION = select(sessions.c.gateway_id, sessions.c.state).where(
    sessions.c.id == bindparam("session")
)
_BALANCES = select(accounts.c.id, accounts.c.balance_micros).where(
    accounts.c.id.in_(bindparam("names", expanding=True))
)
_INSERT_EVENTS = insert(usage_events)
_INSERT_TRANSFERS = insert(transfers)
_INSERT_ACCOUNTS = insert(accounts)
_SET_BALANCE = (
    update(accounts)
    .where(accounts.c.id == bindparam("account"))
    .values(balance_micros=bindparam("balance"))
)
_SET_HEAD = update(ledger_head).values(
    transfer_seq=bindparam("transfers"), event_seq=bindparam("events")
)


class Journal:
    """Not shared between threads; lives as long as its transaction."""

    def __init__(
        self, connection: Connection, now: datetime, session_id: str | None = None
    ) -> None:
        if connection.dialect.name == "postgresql":
            # Two statements: one that waits for the lock sees what it joins as it was before.
            head: Any = connection.execute(_HEAD).one()
            session: Any = None
            if session_id is not None:
                session = connection.execute(_SESSION, {"session": session_id}).one_or_none()
        else:
            # SQLite's transaction began with the lock.
            head = session = connection.execute(_LOCK_HEAD, {"session": session_id}).one()
        self.gateway_id: str | None = session.gateway_id if session else None
        """Of the given session, with its state; None if there is no such session."""
        self.session_state: str | None = session.state if session else None
        self.connection = connection
        self.now = now
        self._transfer_seq: int = head.transfer_seq
        self._event_seq: int = head.event_seq
        self._stored: dict[str, int | None] = {}
        self._deltas: defaultdict[str, int] = defaultdict(int)
        self._transfers: list[dict[str, Any]] = []
        self._events: list[dict[str, Any]] = []

    def load(self, account_ids: Iterable[str]) -> None:
        """Read balances in one query; those not loaded are read one by one."""
        missing = {name for name in account_ids if name not in self._stored}
        if not missing:
            return
        rows = self.connection.execute(_BALANCES, {"names": sorted(missing)})
        self._stored.update(dict.fromkeys(missing))
        self._stored.update({row.id: row.balance_micros for row in rows})

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
                "created_at": self.now,
            }
        )

    def has(self, reference: str) -> bool:
        """Whether this transaction itself moved money under the reference."""
        return any(row["reference"] == reference for row in self._transfers)

    def record(self, event: UsageEvent, gateway_id: str) -> int:
        """Append the event; its cursor."""
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
                "created_at": event.created_at,
                "gateway_id": gateway_id,
                "kind": event.kind,
                "price_id": event.price_id,
            }
        )
        return self._event_seq

    def flush(self) -> None:
        """Write everything. ``IntegrityError`` (nothing written) if an account would go negative:
        the rules forbid it, so it is a fault of ours."""
        self.load(self._deltas)
        for name in self._deltas:
            if self.balance_micros(name) < 0 and not is_funding(name):
                raise IntegrityError(f"account {name} would be overdrawn", code="overdrawn")
        if self._events:
            self.connection.execute(_INSERT_EVENTS, self._events)
        if self._transfers:
            self.connection.execute(_INSERT_TRANSFERS, self._transfers)
            self._write_balances()
        if self._events or self._transfers:
            self.connection.execute(
                _SET_HEAD, {"transfers": self._transfer_seq, "events": self._event_seq}
            )

    def _write_balances(self) -> None:
        new: list[dict[str, Any]] = []
        old: list[dict[str, Any]] = []
        for name in sorted(self._deltas):
            row = {"account": name, "balance": self.balance_micros(name)}
            (new if self._stored[name] is None else old).append(row)
        if new:
            self.connection.execute(
                _INSERT_ACCOUNTS,
                [{"id": row["account"], "balance_micros": row["balance"]} for row in new],
            )
        if old:
            self.connection.execute(_SET_BALANCE, old)
