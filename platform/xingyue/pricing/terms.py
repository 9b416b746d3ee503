"""What a gateway knows of a tenant's prices and vouchers, from memory: read anew every few seconds.

So a change of either is met by every gateway after at most ``ttl_s``. That is no looseness of the
bill: an event names the price that its answer told, and what a voucher pays the ledger decides.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from xingyue.clock import Clock
from xingyue.errors import Overloaded
from xingyue.pricing.models import PriceEntry
from xingyue.pricing.store import PriceBook
from xingyue.vouchers.models import Voucher
from xingyue.vouchers.store import VoucherStore

_TENANTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class TenantTerms:
    prices: tuple[PriceEntry, ...] = ()
    """Its own and everyone's, those to come too."""
    vouchers: tuple[Voucher, ...] = ()
    """That have something to pay with."""


class TermsDirectory:
    """One per gateway, used on one event loop; the database is read in a thread."""

    def __init__(
        self, prices: PriceBook, vouchers: VoucherStore, *, clock: Clock, ttl_s: float = 5.0
    ) -> None:
        self._prices = prices
        self._vouchers = vouchers
        self._clock = clock
        self._ttl_s = ttl_s
        self._known: dict[str, tuple[float, TenantTerms]] = {}
        self._pending: dict[str, asyncio.Task[TenantTerms]] = {}

    async def of(self, tenant_id: str) -> TenantTerms:
        """``Overloaded`` if they are not in memory and the database is away."""
        known = self._known.get(tenant_id)
        if known is not None and self._clock.monotonic_s() < known[0]:
            return known[1]
        # Concurrent calls of one tenant share one look-up.
        task = self._pending.get(tenant_id)
        if task is None:
            task = asyncio.create_task(self._read(tenant_id, self._pending))
            self._pending[tenant_id] = task
        return await asyncio.shield(task)

    async def maintain(self) -> None:
        """Return what is left of vouchers past their time; any gateway does it, and often."""
        await asyncio.to_thread(self._vouchers.expire_due)

    def forget(self) -> None:
        """Drop all that is remembered: here, a change takes effect at once."""
        self._known.clear()
        # Look-ups under way may have read the old state.
        self._pending = {}

    async def _read(
        self, tenant_id: str, pending: dict[str, asyncio.Task[TenantTerms]]
    ) -> TenantTerms:
        asked_at_s = self._clock.monotonic_s()
        try:
            terms = await asyncio.to_thread(self._load, tenant_id)
        except SQLAlchemyError as error:
            raise Overloaded(
                "the tenant's prices can't be read right now; try again shortly",
                code="directory_unavailable",
            ) from error
        finally:
            pending.pop(tenant_id, None)
        if pending is self._pending:
            self._known.pop(tenant_id, None)
            if len(self._known) >= _TENANTS_MAX:
                self._known.pop(next(iter(self._known)))
            self._known[tenant_id] = (asked_at_s + self._ttl_s, terms)
        return terms

    def _load(self, tenant_id: str) -> TenantTerms:
        now = self._clock.now()
        return TenantTerms(
            tuple(self._prices.entries(tenant_id=tenant_id)),
            tuple(self._vouchers.payable(tenant_id, now)),
        )
