"""The meter of one gateway: admit, then post or void.

Promise. A call is answered only after ``post`` returned, and ``post`` returns only once the usage
event is on disk. So nothing answered goes unbilled; an event is posted at most once, so nothing is
billed twice; what may be spent was moved out of cash before, so no tenant overspends; and a call
that was refused or failed leaves no trace. This holds whatever is killed and whenever. What no
ledger can know is whether an answer reached the caller: killed between commit and answer, the call
is billed, and a retry under the same idempotency key gets the stored answer at no charge.

Used on one event loop; all database work happens in the writer's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging

from sqlalchemy.exc import SQLAlchemyError

from xingyue import ids
from xingyue.clock import Clock
from xingyue.errors import Internal, MeterUnavailable, QuotaExhausted, XingyueError
from xingyue.ledger import refusals, rules
from xingyue.ledger.demand import Demand
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.gateway_session import GatewaySession, lost
from xingyue.ledger.idempotency import Idempotency, PackedResponse, StoredResponse, pack
from xingyue.ledger.lease_keeper import LeaseKeeper
from xingyue.ledger.local import Hold, HoldStatus
from xingyue.ledger.operations import (
    Claim,
    Claimed,
    ClaimRefused,
    Post,
    Posted,
    Replay,
    Reserve,
    SessionLost,
    Void,
    Voided,
)
from xingyue.ledger.rules import Refusal, Source
from xingyue.ledger.securer import Securer
from xingyue.ledger.store import Balance, LedgerStore
from xingyue.ledger.writer import GroupCommitWriter

log = logging.getLogger(__name__)

_PACK_IN_THREAD_BYTES = 1 << 16
_PURGE_EVERY_S = 600.0


class Meter:
    """``gateway_id`` names this process and must be unique among those alive: starting a second
    one under the same id takes the first one's leases away (safe, but slow for both)."""

    def __init__(
        self,
        store: LedgerStore,
        *,
        gateway_id: str,
        clock: Clock,
        lease_micros: int = 2_000_000,
        lease_ttl_s: float = 30.0,
        hold_ttl_s: float = 120.0,
        idle_s: float = 5.0,
        tick_s: float = 0.5,
        recall_wait_s: float = 2.0,
        batch_max: int = 256,
        resolve_timeout_s: float = 10.0,
    ) -> None:
        """``lease_micros``: most that a lease grows by at a time. ``lease_ttl_s``: after so long
        without a heartbeat others reclaim this gateway's leases. ``hold_ttl_s``: likewise for
        durable holds of streams. ``idle_s``: an unused lease is given back. ``tick_s``: period of
        upkeep. ``recall_wait_s``: how long ``admit`` waits for money that other gateways have on
        lease. ``resolve_timeout_s``: how long a commit of unknown outcome is looked up."""
        self._store = store
        self._clock = clock
        self._hold_ttl_s = hold_ttl_s
        self._tick_s = tick_s
        self._writer = GroupCommitWriter(
            store, clock=clock, batch_max=batch_max, resolve_timeout_s=resolve_timeout_s
        )
        self._session = GatewaySession(
            self._writer,
            gateway_id=gateway_id,
            clock=clock,
            ttl_s=lease_ttl_s,
            hold_ttl_s=hold_ttl_s,
            on_lost=lambda: self._leases.drop_all(),
        )
        self._leases = LeaseKeeper(
            self._writer,
            self._session,
            clock=clock,
            slice_micros=lease_micros,
            idle_s=idle_s,
            recall_wait_s=recall_wait_s,
        )
        self._securer = Securer(
            self._writer,
            self._session,
            self._leases,
            clock=clock,
            hold_ttl_s=hold_ttl_s,
            recall_wait_s=recall_wait_s,
            abandon=self._abandon,
        )
        self._owed: list[tuple[Void, Hold | None]] = []
        self._background: set[asyncio.Task[None]] = set()
        self._purged_at_s = clock.monotonic_s()

    async def start(self) -> None:
        """Open the session and reclaim what dead gateways left. ``MeterUnavailable`` if the
        database is away."""
        self._writer.start()
        try:
            await self._session.ensure()
        except MeterUnavailable:
            await self._writer.close()
            raise
        self._spawn(self._keep_up())

    async def close(self) -> None:
        """Give leases and holds back. Calls must have ended: later ones get MeterUnavailable."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        try:
            await self._pay_owed()
            await self._session.close()
        except MeterUnavailable:
            log.warning("meter closed without the database; its leases will be reclaimed")
        finally:
            await self._writer.close()

    async def admit(
        self,
        tenant_id: str,
        amount_max_micros: int,
        *,
        idempotency: Idempotency | None = None,
        demand: Demand | None = None,
    ) -> Hold | StoredResponse:
        """Set aside what a call may cost at most; 0 is fine. No database on the way while the
        tenant's lease covers it and there is no idempotency key. With a ``demand`` the ledger
        says what is set aside, whatever ``amount_max_micros`` is, and the hold bears its rate.

        A ``StoredResponse`` is the first answer to the same key: send it, charge nothing.
        Raises ``QuotaExhausted``; ``RateLimited`` (a demand's limit on units); ``Conflict``
        (``idempotency_key_reused``,
        ``idempotency_in_progress``, ``idempotency_response_unavailable``); ``MeterUnavailable``.
        """
        rules.check_amount(amount_max_micros, param="amount_max_micros")
        claim = None
        if idempotency is not None:
            claimed = await self._claim(tenant_id, idempotency)
            if isinstance(claimed, StoredResponse):
                return claimed
            claim = claimed
        if amount_max_micros == 0 and demand is None:
            return Hold(tenant_id, 0, None, None, claim)
        try:
            if demand is not None:
                hold = await self._securer.secure(demand)
                hold.claim = claim
                return hold
            lease = await self._leases.cover(tenant_id, amount_max_micros)
        except BaseException:
            if claim is not None:
                self._owe(Void(None, claim))
            raise
        return Hold(tenant_id, amount_max_micros, lease, lease.id, claim)

    async def _claim(self, tenant_id: str, idempotency: Idempotency) -> str | StoredResponse:
        token = f"claim_{ids.unique_hex()}"
        for _ in range(3):
            await self._session.ensure()
            session_id = self._session.id
            try:
                outcome = await asyncio.shield(
                    self._writer.submit(Claim(tenant_id, idempotency, token))
                )
            except BaseException:
                self._owe(Void(None, token))
                raise
            match outcome:
                case Claimed():
                    return token
                case SessionLost():
                    self._session.lose(session_id)
                case Replay(response=None):
                    raise refusals.conflict("idempotency_response_unavailable")
                case Replay(response=StoredResponse() as response):
                    return response
                case ClaimRefused(verdict=verdict):
                    raise refusals.conflict(verdict.value)
        raise lost(self._session)

    async def post(
        self, hold: Hold, event: UsageEvent, response: StoredResponse | None = None
    ) -> None:
        """Record the event, pay for it and store the answer, in one transaction. Returns once
        that is durable; after any exception the call was not billed and must not be answered.

        Ends the hold either way. ``event.cost_micros`` may be less than the hold's amount, never
        more. Raises ``MeterUnavailable``; ``QuotaExhausted`` (the lease was lost and the balance
        is gone); ``Conflict`` (``idempotency_in_progress``: another gateway took the key over);
        ``Internal`` for a malformed event or a hold already settled.
        """
        if hold.status is not HoldStatus.OPEN:
            raise Internal("this hold was already posted or voided", code="hold_settled")
        hold.status = HoldStatus.SETTLING
        try:
            packed = await self._prepare(hold, event, response)
        except BaseException:
            self._abandon(hold)
            raise
        outcome = await self._submit_post(hold, event, packed)
        if isinstance(outcome, Refusal):
            raise refusals.refused(outcome, hold, event)

    async def _prepare(
        self, hold: Hold, event: UsageEvent, response: StoredResponse | None
    ) -> PackedResponse | None:
        rules.check_event(event)
        if event.tenant_id != hold.tenant_id:
            raise Internal("the event is of another tenant than its hold", code="usage_malformed")
        if response is None or hold.claim is None:
            return None
        if len(response.body) <= _PACK_IN_THREAD_BYTES:
            return pack(response)
        return await asyncio.to_thread(pack, response)

    async def _submit_post(
        self, hold: Hold, event: UsageEvent, packed: PackedResponse | None
    ) -> Posted | Refusal:
        future = self._writer.submit(
            Post(
                event=event,
                amount_max_micros=hold.amount_max_micros,
                # A durable hold owns its money; the lease's is for other calls.
                lease_id=None if hold.durable else hold.lease_id,
                hold_id=hold.id if hold.durable else None,
                claim=hold.claim,
                response=packed,
                secured=hold.secured,
            )
        )

        def book(done: asyncio.Future[Posted | Refusal]) -> None:
            # A callback, so that the lease is right even if the caller was cancelled.
            if done.cancelled() or done.exception() is not None:
                self._abandon(hold)
            elif isinstance(outcome := done.result(), Posted):
                hold.settle(
                    consumed_micros=event.cost_micros if outcome.source is Source.LEASE else 0,
                    lease_refund_micros=outcome.lease_refund_micros,
                )
                if outcome.source is Source.NOTHING and hold.durable:
                    # The event was posted before, by another hold: this one is not needed.
                    self._owe(Void(hold.id, None), hold)
            else:
                self._abandon(hold)

        future.add_done_callback(book)
        return await asyncio.shield(future)

    async def void(self, hold: Hold) -> None:
        """Free the hold and its idempotency key, so that a retry runs anew. Never raises: what
        the database can't take now is freed as soon as it can. Harmless on an ended hold."""
        if hold.status is not HoldStatus.OPEN:
            return
        if not hold.durable and hold.claim is None:
            hold.settle()
            return
        hold.status = HoldStatus.SETTLING
        operation = Void(hold.id if hold.durable else None, hold.claim)
        future = self._writer.submit(operation)

        def book(done: asyncio.Future[Voided]) -> None:
            if done.cancelled() or done.exception() is not None:
                self._abandon(hold)
            else:
                hold.settle(lease_refund_micros=done.result().lease_refund_micros)

        future.add_done_callback(book)
        with contextlib.suppress(XingyueError):
            await asyncio.shield(future)

    async def reserve(self, hold: Hold) -> None:
        """Make the hold durable, before a stream's headers are sent. If this gateway dies, it
        expires by itself and the money is the tenant's again. ``QuotaExhausted`` if the lease was
        lost and the balance is gone; the hold stays open, to be voided."""
        if hold.status is not HoldStatus.OPEN:
            raise Internal("this hold was already posted or voided", code="hold_settled")
        if hold.durable or hold.amount_max_micros == 0:
            return
        future = self._writer.submit(
            Reserve(
                hold.id, hold.tenant_id, hold.lease_id, hold.amount_max_micros, self._hold_ttl_s
            )
        )

        def book(done: asyncio.Future[bool]) -> None:
            if done.cancelled() or done.exception() is not None or not done.result():
                return
            hold.became_durable()
            if hold.status is not HoldStatus.OPEN:
                # Voided while the reservation was under way.
                self._owe(Void(hold.id, None), hold)

        future.add_done_callback(book)
        if not await asyncio.shield(future):
            raise QuotaExhausted(
                "the balance does not cover this call any more; top up and try again",
                retry_after_s=2.0,
            )

    async def balance(self, tenant_id: str) -> Balance:
        try:
            return await asyncio.to_thread(self._store.balance, tenant_id)
        except SQLAlchemyError as error:
            raise MeterUnavailable("the ledger cannot be read right now") from error

    async def tick(self) -> None:
        """One round of upkeep; the meter does it by itself every ``tick_s``."""
        await self._session.keep_alive()
        await self._pay_owed()
        await self._leases.give_back_idle()
        if self._session.id is not None and self._leases.any_open:
            recalled = await asyncio.to_thread(self._store.recalled_leases, self._session.id)
            await self._leases.give_back_recalled(recalled)
        if self._clock.monotonic_s() - self._purged_at_s >= _PURGE_EVERY_S:
            self._purged_at_s = self._clock.monotonic_s()
            await asyncio.to_thread(self._store.purge_idempotency)

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(self._tick_s)
            try:
                await self.tick()
            except (XingyueError, SQLAlchemyError) as error:
                log.warning("meter: upkeep failed, trying again: %s", error)

    def _abandon(self, hold: Hold) -> None:
        """End a hold whose call is not billed."""
        if hold.status is HoldStatus.SETTLED:
            return
        if hold.durable or hold.claim is not None:
            self._owe(Void(hold.id if hold.durable else None, hold.claim), hold)
        hold.settle()

    def _owe(self, operation: Void, hold: Hold | None = None) -> None:
        """Free something as soon as the database takes it; nobody waits."""
        self._owed.append((operation, hold))
        self._spawn(self._pay_owed())

    async def _pay_owed(self) -> None:
        owed, self._owed = self._owed, []
        results = await asyncio.gather(
            *(self._writer.submit(operation) for operation, _ in owed), return_exceptions=True
        )
        for debt, result in zip(owed, results, strict=True):
            hold = debt[1]
            if isinstance(result, BaseException):
                self._owed.append(debt)
            elif hold is not None:
                hold.refund(result.lease_refund_micros)

    def _spawn(self, work: object) -> None:
        assert asyncio.iscoroutine(work)
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
