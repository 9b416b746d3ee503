"""A fit's compute, prepaid in slices while it runs.

Second n of a job's compute is billed at most once, whichever worker used it: an event's id is made
of the job and of the first second that it bills, so a worker that repeats what a dead one did, or
one that was thought dead and is not, can't charge it again. The bill of a job is thereby that of
its longest attempt.

A slice is set aside as a call is that vouchers may pay: theirs first, then cash.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from typing import Protocol

from xingyue.clock import Clock
from xingyue.errors import Internal, MeterUnavailable, QuotaExhausted
from xingyue.jobs.models import Job
from xingyue.jobs.rules import affordable_s
from xingyue.ledger.compute import KIND
from xingyue.ledger.demand import Bucket, Demand
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.idempotency import StoredResponse
from xingyue.ledger.local import Hold
from xingyue.ledger.rules import Refusal
from xingyue.units import Unit, format_cny
from xingyue.vouchers.models import Purchase

log = logging.getLogger(__name__)

SLICE_S = 10
_POST_TRIES = 20
_POST_RETRY_S = 0.5


class Bill(Protocol):
    """The part of ``ledger.meter.Meter`` that is used."""

    async def admit(
        self, tenant_id: str, amount_max_micros: int, *, demand: Demand | None = None
    ) -> Hold | StoredResponse: ...

    async def post(self, hold: Hold, event: UsageEvent) -> None: ...

    async def void(self, hold: Hold) -> None: ...


class MeteredCompute:
    """Of one attempt. Used on one event loop: ``open``, ``turn`` often, ``close`` once."""

    def __init__(
        self,
        bill: Bill,
        job: Job,
        clock: Clock,
        read_billed: Callable[[], int],
        booked: Callable[[int], None],
        *,
        industry: str,
        slice_s: int = SLICE_S,
    ) -> None:
        """``read_billed``: seconds of the job that the ledger has. ``booked``: told the new sum
        after each slice. Both are called in a thread. ``industry``: of the base, as vouchers ask.
        """
        self._bill = bill
        self._job = job
        self._clock = clock
        self._read_billed = read_billed
        self._booked = booked
        self._industry = industry
        self._slice_s = slice_s
        self._hold: Hold | None = None
        self._admitted_s = 0
        self.billed_s = 0

    async def open(self) -> None:
        """Set the first slice aside. ``QuotaExhausted`` (``insufficient_quota`` or
        ``budget_exceeded``) if that can't be paid; ``MeterUnavailable``."""
        self.billed_s = await asyncio.to_thread(self._read_billed)
        await self._admit()

    async def turn(self, used_s: float) -> None:
        """``used_s``: compute of this attempt so far. Bills slices that are full and sets the next
        one aside; raises as ``open`` does when that can't be paid."""
        while self._hold is not None and used_s >= self.billed_s + self._admitted_s:
            await self._post(self._admitted_s)
            await self._admit()

    async def close(self, used_s: float, *, charge: bool = True) -> None:
        """Bill what the last slice holds of ``used_s``, or free it. Never more than was set aside:
        what ran on after the money had ended is the platform's loss."""
        while self._hold is not None:
            units = min(math.ceil(used_s) - self.billed_s, self._admitted_s)
            if units <= 0 or not charge:
                hold, self._hold = self._hold, None
                await self._bill.void(hold)
                return
            full = units == self._admitted_s
            await self._post(units)
            if full and math.ceil(used_s) > self.billed_s:
                try:
                    await self._admit()
                except QuotaExhausted:
                    return

    async def _admit(self) -> None:
        price, budget = self._job.price_micros_per_s, self._job.budget_micros
        seconds = affordable_s(self.billed_s, price, budget, self._slice_s)
        if seconds == 0:
            raise QuotaExhausted(
                f"the job has used its budget of {format_cny(budget or 0)}; start one with a "
                "larger budget_micros, or with fewer images",
                code="budget_exceeded",
                param="budget_micros",
            )
        try:
            await self._set_aside(seconds)
        except QuotaExhausted:
            if seconds == 1:
                raise
            # The last of the balance, second by second.
            await self._set_aside(1)

    async def _set_aside(self, seconds: int) -> None:
        self._hold, self._admitted_s = await self._hold_for(seconds), seconds

    async def _hold_for(self, seconds: int) -> Hold:
        job = self._job
        demand = Demand(
            purchase=Purchase(
                tenant_id=job.tenant_id,
                model=job.base_model,
                base_model=job.base_model,
                industry=self._industry,
                vendor_id=None,
            ),
            price_id=self._price_id,
            per=1,
            units_max=seconds,
            buckets=(Bucket("", None, job.price_micros_per_s),),
            vouchers=True,
        )
        hold = await self._bill.admit(
            job.tenant_id, seconds * job.price_micros_per_s, demand=demand
        )
        assert isinstance(hold, Hold), "no idempotency key, so no stored answer"
        return hold

    @property
    def _price_id(self) -> str:
        return f"tuning:{self._job.price_micros_per_s}/1"

    async def _post(self, units: int) -> None:
        hold, self._hold = self._hold, None
        event = self._event(units)
        freed = False
        for number in range(_POST_TRIES):
            try:
                if hold is None:
                    hold = await self._hold_for(units)
                await self._bill.post(hold, event)
                break
            except QuotaExhausted:
                # What was set aside was freed, as where the database was away for long. Once more:
                # whether the money is really gone is told by setting it aside anew.
                if hold is None or freed:
                    raise
                hold, freed = None, True
            except MeterUnavailable:
                # The same event once more: if it was written after all, it is not written again.
                hold = None
                if number == _POST_TRIES - 1:
                    raise
                await asyncio.sleep(_POST_RETRY_S)
            except Internal as error:
                if error.code != Refusal.EVENT_ID_REUSED.value:
                    raise
                log.warning(
                    "job %s: another worker billed from %d s on", self._job.id, self.billed_s
                )
                self.billed_s = await asyncio.to_thread(self._read_billed)
                return
        self.billed_s += units
        await asyncio.to_thread(self._booked, self.billed_s)

    def _event(self, units: int) -> UsageEvent:
        job = self._job
        return UsageEvent(
            tenant_id=job.tenant_id,
            key_id=job.key_id,
            model=job.base_model,
            version=job.base_version,
            unit=Unit.COMPUTE_SECOND.value,
            units=units,
            cost_micros=units * job.price_micros_per_s,
            request_id=job.id,
            created_at=self._clock.now(),
            kind=KIND,
            price_id=self._price_id,
            id=f"{job.id}-s{self.billed_s}",
        )
