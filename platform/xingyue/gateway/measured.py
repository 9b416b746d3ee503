"""The ledger's store with its group commits counted. What it decides is untouched."""

from __future__ import annotations

import time
from typing import Any

from xingyue import metrics
from xingyue.ledger.operations import (
    Batch,
    CapReached,
    GiveBack,
    Grant,
    Granted,
    NotCovered,
    Secure,
    Secured,
)
from xingyue.ledger.store import LedgerStore


class MeasuredLedger(LedgerStore):
    """Used by the writer's thread; the counters are safe to share."""

    def apply(self, batch: Batch) -> list[Any]:
        started_s = time.perf_counter()
        outcomes = super().apply(batch)
        metrics.commit_seconds.observe(time.perf_counter() - started_s)
        metrics.commit_size.observe(len(batch.operations))
        for operation, outcome in zip(batch.operations, outcomes, strict=True):
            if isinstance(operation, GiveBack):
                metrics.lease("given_back")
            elif isinstance(operation, Grant):
                metrics.lease(_granted(outcome))
            elif isinstance(operation, Secure):
                metrics.lease(_secured(outcome))
        return outcomes


def _secured(outcome: object) -> str:
    if isinstance(outcome, Secured):
        return "secured"
    return "limit_reached" if isinstance(outcome, CapReached) else _granted(outcome)


def _granted(outcome: object) -> str:
    if isinstance(outcome, Granted):
        return "granted"
    return "not_covered" if isinstance(outcome, NotCovered) else "session_lost"
