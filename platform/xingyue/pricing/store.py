"""The price book in the database. Synchronous; gateways read it through ``TermsDirectory``."""

from __future__ import annotations

import json
import secrets
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, or_, select, update

from xingyue.clock import Clock, SystemClock
from xingyue.errors import Conflict, NotFound
from xingyue.pricing import rules
from xingyue.pricing.models import NewPrice, PriceEntry, Tier
from xingyue.pricing.tables import prices
from xingyue.storage.database import begin_read, begin_write, insert_ignore
from xingyue.units import Unit


class PriceBook:
    """Safe to share between threads. The schema must exist."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    def set(self, price: NewPrice) -> PriceEntry:
        """Add an entry; once per reference. Entries that are there stay as they are: the newest
        one in effect holds. ``Conflict`` if the reference stands for another price."""
        now = self._clock.now()
        with begin_write(self._engine) as connection:
            known = _by_reference(connection, price.reference)
            if known is not None:
                return rules.check_same(known, price)
            start = rules.check_new(price, now)
            connection.execute(insert_ignore(connection, prices).values(_row(price, start, now)))
            # Another process may have been first.
            found = _by_reference(connection, price.reference)
            assert found is not None
            return rules.check_same(found, price)

    def end(self, price_id: str) -> PriceEntry:
        """Let an entry hold no longer, from now on; events keep naming it. ``Conflict`` if it has
        ended."""
        now = self._clock.now()
        with begin_write(self._engine) as connection:
            row = connection.execute(select(prices).where(prices.c.id == price_id)).one_or_none()
            if row is None:
                raise NotFound(f"there is no price {price_id!r}", param="price_id")
            if row.effective_until is not None and row.effective_until <= now:
                raise Conflict(f"price {price_id} has ended already", param="price_id")
            # One that has not begun ends as it begins.
            end = max(now, row.effective_from)
            connection.execute(
                update(prices).where(prices.c.id == price_id).values(effective_until=end)
            )
            return _entry(connection.execute(select(prices).where(prices.c.id == price_id)).one())

    def entries(
        self, *, model: str | None = None, tenant_id: str | None = None
    ) -> list[PriceEntry]:
        """Oldest first. With ``tenant_id``, what may concern it: its own and everyone's."""
        query = select(prices).order_by(prices.c.created_at, prices.c.id)
        if model is not None:
            query = query.where(prices.c.model == model)
        if tenant_id is not None:
            query = query.where(or_(prices.c.tenant_id == tenant_id, prices.c.tenant_id.is_(None)))
        with begin_read(self._engine) as connection:
            return [_entry(row) for row in connection.execute(query)]


def _by_reference(connection: Connection, reference: str) -> PriceEntry | None:
    row = connection.execute(select(prices).where(prices.c.reference == reference)).one_or_none()
    return None if row is None else _entry(row)


def _row(price: NewPrice, start: datetime, now: datetime) -> dict[str, Any]:
    return {
        "id": f"price_{secrets.token_hex(8)}",
        "reference": price.reference,
        "model": price.model,
        "tenant_id": price.tenant_id,
        "unit": price.unit.value,
        "per": price.per,
        "tiers": json.dumps([[tier.up_to, tier.amount_micros] for tier in price.tiers]),
        "monthly_fee_micros": price.monthly_fee_micros,
        "effective_from": start,
        "effective_until": price.effective_until,
        "note": price.note,
        "created_at": now,
    }


def _entry(row: Row[Any]) -> PriceEntry:
    return PriceEntry(
        id=row.id,
        reference=row.reference,
        model=row.model,
        tenant_id=row.tenant_id,
        unit=Unit(row.unit),
        per=row.per,
        tiers=tuple(Tier(up_to, amount) for up_to, amount in json.loads(row.tiers)),
        monthly_fee_micros=row.monthly_fee_micros,
        effective_from=row.effective_from,
        effective_until=row.effective_until,
        note=row.note,
        created_at=row.created_at,
    )
