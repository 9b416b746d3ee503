"""Reading variants. Synchronous and safe to share between threads."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Engine, select

from xingyue.catalog.spec import Visibility
from xingyue.clock import Clock, SystemClock
from xingyue.storage.database import begin_read
from xingyue.variants import tables
from xingyue.variants.models import Snapshot, VariantEvent
from xingyue.variants.rows import read_snapshots
from xingyue.variants.signing import Signer

_VARIANTS = tables.variants


class VariantReader:
    def __init__(self, engine: Engine, *, signer: Signer, clock: Clock | None = None) -> None:
        self._engine = engine
        self._signer = signer
        self._clock = clock or SystemClock()

    def get(self, variant_id: str) -> Snapshot | None:
        """None for one that is not there, or was deleted."""
        return next(iter(self._snapshots(_VARIANTS.c.id == variant_id)), None)

    def of_tenant(self, tenant_id: str) -> list[Snapshot]:
        return self._snapshots(_VARIANTS.c.tenant_id == tenant_id)

    def callable_by(self, tenant_id: str) -> list[Snapshot]:
        """The tenant's own and every listed one, those past their shutdown date left out."""
        alive = _VARIANTS.c.shutdown_at.is_(None) | (_VARIANTS.c.shutdown_at > self._clock.now())
        mine = _VARIANTS.c.tenant_id == tenant_id
        return self._snapshots(alive & (mine | (_VARIANTS.c.visibility == Visibility.LISTED.value)))

    def _snapshots(self, where: Any) -> list[Snapshot]:
        query = select(_VARIANTS).where(where, _VARIANTS.c.deleted_at.is_(None))
        with begin_read(self._engine) as connection:
            rows = connection.execute(query.order_by(_VARIANTS.c.id)).all()
            return read_snapshots(connection, self._signer, rows)

    def changed_since(self, revision: int) -> tuple[int, list[str]]:
        """The newest revision, and the ids changed after ``revision``, deleted ones among them."""
        with begin_read(self._engine) as connection:
            newest = int(connection.execute(select(tables.head.c.revision)).scalar_one())
            if newest == revision:
                return revision, []
            query = select(_VARIANTS.c.id).where(_VARIANTS.c.revision > revision)
            return newest, list(connection.execute(query).scalars())

    def events(self, variant_id: str, limit: int = 100) -> list[VariantEvent]:
        """Newest first."""
        query = (
            select(tables.events)
            .where(tables.events.c.variant_id == variant_id)
            .order_by(tables.events.c.id.desc())
            .limit(limit)
        )
        with begin_read(self._engine) as connection:
            return [
                VariantEvent(row.at, row.actor, row.action, json.loads(row.detail))
                for row in connection.execute(query)
            ]
