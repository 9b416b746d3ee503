"""Calls counted in a gateway's memory, folded into the database off the hot path.

Arms of a running canary are folded at every ``flush``, the others once a minute: they only serve
as a baseline. What a killed gateway had not folded is lost; no bill depends on it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from xingyue.clock import Clock
from xingyue.errors import InvalidRequest, Overloaded, XingyueError
from xingyue.variants.canary import Tally, bin_of
from xingyue.variants.tallies import Arm, Tallies

log = logging.getLogger(__name__)

_QUIET_S = 60.0


@dataclass(frozen=True, slots=True)
class Watch:
    """Where a call is counted; ``urgent`` while a canary runs."""

    arm: Arm
    urgent: bool


class Recorder:
    """One per gateway, used on one event loop. ``on_rollback`` gets the ids rolled back."""

    def __init__(
        self, tallies: Tallies, *, clock: Clock, on_rollback: Callable[[str], None] = lambda _: None
    ) -> None:
        self._tallies = tallies
        self._clock = clock
        self._on_rollback = on_rollback
        self._urgent: dict[Arm, Tally] = {}
        self._quiet: dict[Arm, Tally] = {}
        self._quiet_at_s = clock.monotonic_s()

    def answered(self, watch: Watch, value: Mapping[str, Any]) -> None:
        """Count an answer; of an inspection, its verdict and score too."""
        tally = self._tally(watch)
        tally.calls += 1
        score = value.get("score")
        if isinstance(score, int | float):
            tally.scores[bin_of(score)] += 1
            tally.fails += value.get("verdict") == "fail"

    def failed(self, watch: Watch, error: XingyueError) -> None:
        """A call that was shed says nothing about a version and is not counted."""
        if isinstance(error, Overloaded):
            return
        tally = self._tally(watch)
        tally.calls += 1
        if isinstance(error, InvalidRequest):
            tally.refusals += 1
        else:
            tally.errors += 1

    async def flush(self, *, everything: bool = False) -> None:
        """Fold what is due. What the database can't take is kept for the next time."""
        due, self._urgent = self._urgent, {}
        now_s = self._clock.monotonic_s()
        if everything or now_s - self._quiet_at_s >= _QUIET_S:
            _merge(due, self._quiet)
            self._quiet, self._quiet_at_s = {}, now_s
        if not due:
            return
        try:
            broken = await asyncio.to_thread(self._tallies.fold, due)
        except SQLAlchemyError:
            _merge(self._urgent, due)
            raise
        for variant_id, reason in broken.items():
            log.warning("canary of %s rolled back: %s", variant_id, reason)
            self._on_rollback(variant_id)

    def _tally(self, watch: Watch) -> Tally:
        return (self._urgent if watch.urgent else self._quiet).setdefault(watch.arm, Tally())


def _merge(into: dict[Arm, Tally], other: Mapping[Arm, Tally]) -> None:
    for arm, tally in other.items():
        into.setdefault(arm, Tally()).add(tally)
