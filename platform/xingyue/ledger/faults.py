"""A ledger store whose database fails when told: for tests, drills and nothing else."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError

from xingyue.ledger.operations import Batch
from xingyue.ledger.store import LedgerStore


class Fault(StrEnum):
    REFUSED = "refused"
    """The database can't be reached at all."""
    BEFORE_COMMIT = "before_commit"
    """The connection is lost just before the commit arrives."""
    AFTER_COMMIT = "after_commit"
    """The commit is done and its answer lost."""


class CrashPoint(StrEnum):
    """Where a process may be killed that is writing a group."""

    IN_TRANSACTION = "in_transaction"
    BEFORE_COMMIT = "before_commit"
    AFTER_COMMIT = "after_commit"
    """On disk, and nobody was told."""


class Killed(BaseException):
    """The process is gone. Nothing of it may handle this, so it is no ``Exception``."""


class FaultyStore(LedgerStore):
    """``faults`` are met in turn, one per group; ``down`` refuses everything while set;
    ``crash`` is where the next group's process dies."""

    faults: list[Fault]
    down: bool
    crash: CrashPoint | None

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.faults = []
        self.down = False
        self.crash = None
        self._current: Fault | None = None

    def apply(self, batch: Batch) -> list[Any]:
        self._current = self.faults.pop(0) if self.faults else None
        self._check(refused=self._current is Fault.REFUSED)
        return super().apply(batch)

    def _run(self, connection: Connection, batch: Batch) -> list[Any]:
        outcomes = super()._run(connection, batch)
        self._die(CrashPoint.IN_TRANSACTION)
        return outcomes

    def was_committed(self, batch: Batch) -> bool:
        self._check()
        return super().was_committed(batch)

    def _commit(self, connection: Connection) -> None:
        if self._current is Fault.BEFORE_COMMIT:
            raise _gone()
        self._die(CrashPoint.BEFORE_COMMIT)
        super()._commit(connection)
        self._die(CrashPoint.AFTER_COMMIT)
        if self._current is Fault.AFTER_COMMIT:
            raise _gone()

    def _die(self, point: CrashPoint) -> None:
        if self.crash is point:
            raise Killed

    def _check(self, *, refused: bool = False) -> None:
        if refused or self.down:
            raise _gone()


def _gone() -> OperationalError:
    return OperationalError("COMMIT", {}, Exception("server closed the connection unexpectedly"))
