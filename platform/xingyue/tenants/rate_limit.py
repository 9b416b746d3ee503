"""Rate and concurrency limits of tenants, in the memory of one gateway.

A token bucket: it holds a minute's worth of requests at most and refills evenly. Where several
gateways share the traffic, each enforces its part; the sum is the limit, give or take how evenly
the traffic is spread.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from xingyue.clock import Clock
from xingyue.errors import RateLimited
from xingyue.tenants.tenant import Tenant

WINDOW_S = 60.0
_TENANTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class RateState:
    """For the headers ``x-ratelimit-{limit,remaining,reset}-requests``."""

    limit: int
    remaining: int
    reset_s: float
    """Until the bucket is full again."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """Tokens at a moment. A value: taking from it makes another."""

    tokens: float
    at_s: float


def take(bucket: Bucket | None, limit: int, now_s: float) -> tuple[Bucket, RateState, float]:
    """Take one token of ``limit`` per minute: the bucket after, its state, and 0.0, or the
    seconds to wait if it was empty (nothing is taken then). None is a full bucket."""
    per_s = limit / WINDOW_S
    tokens = float(limit)
    if bucket is not None:
        tokens = min(tokens, bucket.tokens + (now_s - bucket.at_s) * per_s)
    wait_s = 0.0
    # A millionth of grace: after waiting just as long as told, float error must not refuse.
    if tokens >= 1.0 - 1e-6:
        tokens = max(0.0, tokens - 1.0)
    else:
        wait_s = (1.0 - tokens) / per_s
    state = RateState(limit, math.floor(tokens + 1e-6), (limit - tokens) / per_s)
    return Bucket(tokens, now_s), state, wait_s


class TenantLimiter:
    """Used on one event loop. ``gateways``: among how many of them a tenant's limits are split."""

    def __init__(self, clock: Clock, *, gateways: int = 1) -> None:
        self._clock = clock
        self._gateways = max(1, gateways)
        self._buckets: dict[str, Bucket] = {}
        self._running: dict[str, int] = {}

    def admit(self, tenant: Tenant) -> RateState:
        """Count one request. ``RateLimited`` with the time to wait."""
        limit = math.ceil(tenant.rate_limit_requests / self._gateways)
        bucket, state, wait_s = take(
            self._buckets.pop(tenant.id, None), limit, self._clock.monotonic_s()
        )
        self._buckets[tenant.id] = bucket
        if len(self._buckets) > _TENANTS_MAX:
            # The longest unused; by then its bucket is full, or as good as.
            self._buckets.pop(next(iter(self._buckets)))
        if wait_s > 0:
            raise RateLimited(
                f"tenant {tenant.id} may make {tenant.rate_limit_requests} requests a minute; "
                f"retry in {wait_s:.1f} s",
                retry_after_s=wait_s,
            )
        return state

    @contextmanager
    def slot(self, tenant: Tenant) -> Iterator[None]:
        """Hold one of the tenant's places for running calls. ``RateLimited`` with code
        ``concurrency_limit_exceeded`` if all are taken."""
        places = math.ceil(tenant.concurrency_max / self._gateways)
        running = self._running.get(tenant.id, 0)
        if running >= places:
            raise RateLimited(
                f"tenant {tenant.id} already has {running} calls in progress, as many as it may; "
                "wait for one to end",
                code="concurrency_limit_exceeded",
                retry_after_s=1.0,
            )
        self._running[tenant.id] = running + 1
        try:
            yield
        finally:
            left = self._running[tenant.id] - 1
            if left:
                self._running[tenant.id] = left
            else:
                del self._running[tenant.id]
