"""A gateway's memory of variants: no database on the way of a call to one that is known.

What was read is kept until it changes: once a second ``refresh`` asks which variants changed, one
small query however many are known, and drops those. So a change is seen by every gateway within
about a second. Ids that lead nowhere are remembered for ``unknown_ttl_s`` in a table of its own
bounded size, so that guessing neither reaches the database each time nor pushes real ones out.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from sqlalchemy.exc import SQLAlchemyError

from xingyue.clock import Clock
from xingyue.errors import Overloaded
from xingyue.variants.models import Snapshot
from xingyue.variants.reader import VariantReader

_BEGINNING = 2**62
"""A revision after which nothing changed: asked for only to learn the newest one."""


class VariantDirectory:
    """One per gateway, used on one event loop; the database is read in a thread."""

    def __init__(
        self,
        store: VariantReader,
        *,
        clock: Clock,
        known_max: int = 20_000,
        unknown_max: int = 10_000,
        unknown_ttl_s: float = 1.0,
    ) -> None:
        self._store = store
        self._clock = clock
        self._known_max = known_max
        self._unknown_max = unknown_max
        self._unknown_ttl_s = unknown_ttl_s
        self._revision: int | None = None
        self._known: OrderedDict[str, Snapshot] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._pending: dict[str, asyncio.Task[Snapshot | None]] = {}

    async def get(self, variant_id: str) -> Snapshot | None:
        """None for an id that leads nowhere. ``Overloaded`` if the database is away and the
        variant is not in memory."""
        known = self._known.get(variant_id)
        if known is not None:
            self._known.move_to_end(variant_id)
            return known
        until_s = self._unknown.get(variant_id)
        if until_s is not None and self._clock.monotonic_s() < until_s:
            return None
        # Concurrent calls of one variant share one look-up.
        task = self._pending.get(variant_id)
        if task is None:
            task = asyncio.create_task(self._look_up(variant_id))
            self._pending[variant_id] = task
        return await asyncio.shield(task)

    async def refresh(self) -> None:
        """Forget what has changed since the last time."""
        if self._revision is None:
            self._revision, _ = await asyncio.to_thread(self._store.changed_since, _BEGINNING)
            return
        self._revision, changed = await asyncio.to_thread(self._store.changed_since, self._revision)
        for variant_id in changed:
            self.forget(variant_id)

    def forget(self, variant_id: str) -> None:
        """Here, a change of it takes effect at once."""
        self._known.pop(variant_id, None)
        self._unknown.pop(variant_id, None)
        # A look-up under way may have read the old state: its result will not be kept.
        self._pending.pop(variant_id, None)

    async def _look_up(self, variant_id: str) -> Snapshot | None:
        mine = asyncio.current_task()
        try:
            found = await asyncio.to_thread(self._store.get, variant_id)
        except SQLAlchemyError as error:
            self._done(variant_id, mine)
            raise Overloaded(
                "variants can't be looked up right now; try again shortly",
                code="directory_unavailable",
            ) from error
        # Before the first refresh nothing tells of changes, so nothing is kept either.
        if self._done(variant_id, mine) and self._revision is not None:
            if found is not None:
                self._known[variant_id] = found
                if len(self._known) > self._known_max:
                    self._known.popitem(last=False)
            else:
                self._unknown[variant_id] = self._clock.monotonic_s() + self._unknown_ttl_s
                if len(self._unknown) > self._unknown_max:
                    self._unknown.popitem(last=False)
        return found

    def _done(self, variant_id: str, task: asyncio.Task[Snapshot | None] | None) -> bool:
        """End a look-up; whether nothing was forgotten meanwhile."""
        if self._pending.get(variant_id) is not task:
            return False
        del self._pending[variant_id]
        return True
