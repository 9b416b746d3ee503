"""The audit log in the database: append, read, verify.

Rows are numbered and chained in the order of commits, by any number of processes: whoever appends
holds the head row to the end of its transaction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from sqlalchemy import Connection, Engine, insert, select, update

from xingyue.audit.rules import FIRST, AuditRow, Deed, fault_of, hash_of, written
from xingyue.audit.tables import audit_head, audit_log
from xingyue.clock import Clock, SystemClock
from xingyue.storage.database import begin_read, begin_write

_PAGE = 500


@dataclass(frozen=True, slots=True)
class Verdict:
    """``rows`` that were checked, ``head`` the last one's hash; ``fault`` names the first broken
    row, or is None."""

    rows: int
    head: str
    fault: str | None


class AuditLog:
    """Safe to share between threads. The schema must exist."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    def record(self, deed: Deed) -> AuditRow:
        """Append in a transaction of its own."""
        with begin_write(self._engine) as connection:
            return self.append(connection, deed)

    def append(self, connection: Connection, deed: Deed) -> AuditRow:
        """Append in the transaction of what was done: both are on disk, or neither. It must be
        the last lock that the transaction takes."""
        head = connection.execute(select(audit_head).with_for_update()).one()
        row = AuditRow(
            sequence=head.sequence + 1,
            at=self._clock.now(),
            key_id=deed.key_id,
            tenant_id=deed.tenant_id,
            action=deed.action,
            subject=deed.subject[:255],
            details=written(deed.details),
            request_id=deed.request_id,
            previous_hash=head.hash,
            hash="",
        )
        row = replace(row, hash=hash_of(row))
        connection.execute(insert(audit_log).values(**asdict(row)))
        connection.execute(update(audit_head).values(sequence=row.sequence, hash=row.hash))
        return row

    def page(self, after: int, limit: int) -> list[AuditRow]:
        """Rows after that number, oldest first."""
        with begin_read(self._engine) as connection:
            return _rows(connection, after, limit)

    def verify(self, *, known: tuple[int, str] | None = None) -> Verdict:
        """Hash every row again, from the first on. ``known``: the number and hash of a row that
        was written down elsewhere, so that a chain forged anew as a whole is found out too."""
        after, hash_, fault = 0, FIRST, None
        # One transaction, so that the head belongs to the rows.
        with begin_read(self._engine) as connection:
            head = connection.execute(select(audit_head)).one()
            while fault is None and after < head.sequence:
                rows = _rows(connection, after, min(_PAGE, head.sequence - after))
                if not rows:
                    fault = f"row {after + 1} is missing, and all up to {head.sequence}"
                for row in rows:
                    fault = fault_of(row, after + 1, hash_)
                    if fault is None and known is not None and known[0] == row.sequence:
                        fault = _unlike(row, known[1])
                    if fault is not None:
                        break
                    after, hash_ = row.sequence, row.hash
            if fault is None:
                fault = _check_end(connection, head.sequence, head.hash, hash_, known)
        return Verdict(after, hash_, fault)


def _rows(connection: Connection, after: int, limit: int) -> list[AuditRow]:
    query = select(audit_log).where(audit_log.c.sequence > after)
    found = connection.execute(query.order_by(audit_log.c.sequence).limit(limit))
    return [AuditRow(**row._mapping) for row in found]


def _unlike(row: AuditRow, known_hash: str) -> str | None:
    if row.hash.startswith(known_hash):
        return None
    return f"row {row.sequence} is another than the one that was written down"


def _check_end(
    connection: Connection, last: int, head_hash: str, hash_: str, known: tuple[int, str] | None
) -> str | None:
    # Rows that others committed meanwhile (PostgreSQL) have a head of their own by then.
    if head_hash != hash_:
        return f"row {last} is not the one that the head names"
    if known is not None and known[0] > last:
        return f"row {last + 1} is missing: rows up to {known[0]} were written once"
    beyond = _rows(connection, last, 1)
    now = connection.execute(select(audit_head.c.sequence)).scalar_one()
    if beyond and now == last:
        return f"row {beyond[0].sequence} is not of the chain: its head ends before it"
    return None
