"""Tallies of calls in the database, and the one place where a canary is rolled back by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from xingyue.clock import Clock, SystemClock
from xingyue.storage.database import begin_read, begin_write
from xingyue.variants import canary, changes, rules, tables
from xingyue.variants.canary import Tally
from xingyue.variants.models import Route
from xingyue.variants.rows import route_columns, to_variant

AUTO_ROLLBACK = "auto_rollback"
_TALLIES = tables.tallies
_VARIANTS = tables.variants


@dataclass(frozen=True, slots=True)
class Arm:
    """What a call is counted under: a version, while a certain canary ran (or none)."""

    variant_id: str
    version: str
    epoch: int


class Tallies:
    """Synchronous and safe to share between threads."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    def fold(self, counted: Mapping[Arm, Tally]) -> dict[str, str]:
        """Add what a gateway counted, and judge the canaries concerned, in one transaction.

        Variant id -> reason of those rolled back just now; of gateways that fold at the same
        time, one does it. Counts of a deleted variant are dropped.
        """
        if not counted:
            return {}
        with begin_write(self._engine) as connection:
            changes.lock(connection)
            ids = sorted({arm.variant_id for arm in counted})
            rows = {
                row.id: row
                for row in connection.execute(
                    select(_VARIANTS).where(
                        _VARIANTS.c.id.in_(ids), _VARIANTS.c.deleted_at.is_(None)
                    )
                )
            }
            known = {
                Arm(row.variant_id, row.version, row.epoch): row
                for row in connection.execute(
                    select(_TALLIES).where(_TALLIES.c.variant_id.in_(list(rows)))
                )
            }
            totals = {arm: _tally(row) for arm, row in known.items()}
            for arm, tally in counted.items():
                if arm.variant_id in rows:
                    totals.setdefault(arm, Tally()).add(tally)
                    _write(connection, arm, totals[arm], fresh=arm not in known)
            reasons = {name: self._judge(connection, row, totals) for name, row in rows.items()}
            return {name: reason for name, reason in reasons.items() if reason is not None}

    def _judge(
        self, connection: Connection, row: Row[Any], totals: Mapping[Arm, Tally]
    ) -> str | None:
        route = to_variant(row).route
        if route.canary is None or route.stable is None:
            return None
        ours = totals.get(Arm(row.id, route.canary, route.epoch), Tally())
        broken = canary.judge(baseline(row.id, route, totals), ours, route.guard)
        if broken is None:
            return None
        changes.apply(
            connection,
            row,
            route_columns(rules.plan_rollback(route, None)),
            at=self._clock.now(),
            actor="system",
            action=AUTO_ROLLBACK,
            detail={"version": route.canary, "test": broken.test, "reason": broken.reason},
        )
        return broken.reason

    def of(self, variant_id: str) -> dict[Arm, Tally]:
        """All that was counted for a variant."""
        with begin_read(self._engine) as connection:
            return {
                Arm(row.variant_id, row.version, row.epoch): _tally(row)
                for row in connection.execute(
                    select(_TALLIES).where(_TALLIES.c.variant_id == variant_id)
                )
            }


def baseline(variant_id: str, route: Route, totals: Mapping[Arm, Tally]) -> Tally:
    """The stable version beside this canary; if it had too few calls, in all its life."""
    beside = totals.get(Arm(variant_id, route.stable or "", route.epoch), Tally())
    if beside.calls >= route.guard.calls_min:
        return beside
    whole = Tally()
    for arm, tally in totals.items():
        if (arm.variant_id, arm.version) == (variant_id, route.stable):
            whole.add(tally)
    return whole


def _tally(row: Row[Any]) -> Tally:
    return Tally(row.calls, row.errors, row.refusals, row.fails, json.loads(row.scores))


def _write(connection: Connection, arm: Arm, tally: Tally, *, fresh: bool) -> None:
    values = {
        "calls": tally.calls,
        "errors": tally.errors,
        "refusals": tally.refusals,
        "fails": tally.fails,
        "scores": json.dumps(tally.scores),
    }
    key = {"variant_id": arm.variant_id, "version": arm.version, "epoch": arm.epoch}
    if fresh:
        connection.execute(insert(_TALLIES).values(**key, **values))
        return
    here = [getattr(_TALLIES.c, name) == value for name, value in key.items()]
    connection.execute(update(_TALLIES).where(*here).values(**values))
