"""Rate and concurrency limits of tenants, keys and their models, in the memory of one gateway.

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
from xingyue.tenants.tenant import ApiKey, Principal, Tenant

WINDOW_S = 60.0
_BUCKETS_MAX = 10_000


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


@dataclass(frozen=True, slots=True)
class _Rule:
    """``name`` of what is counted, the most there may be, and whose limit it is."""

    name: str
    maximum: int
    words: str


class TenantLimiter:
    """Used on one event loop. ``gateways``: among how many of them limits are split."""

    def __init__(self, clock: Clock, *, gateways: int = 1) -> None:
        self._clock = clock
        self._gateways = max(1, gateways)
        self._buckets: dict[str, Bucket] = {}
        self._running: dict[str, int] = {}

    def admit(self, tenant: Tenant, key: ApiKey | None = None) -> RateState:
        """Count one request of a tenant by a key; the state of the tighter limit. ``RateLimited``
        with the time to wait."""
        found = [_Rule(f"t:{tenant.id}", tenant.rate_limit_requests, f"tenant {tenant.id}")]
        if key is not None and key.limits.requests_per_minute is not None:
            limit = key.limits.requests_per_minute
            found.append(_Rule(f"k:{key.id}", limit, f"key {key.id}"))
        return min(self._count(found), key=lambda state: state.remaining)

    @contextmanager
    def slot(self, tenant: Tenant) -> Iterator[None]:
        """Hold one of the tenant's places for running calls. ``RateLimited`` with code
        ``concurrency_limit_exceeded`` if all are taken."""
        with self._places([_tenant_places(tenant)]):
            yield

    @contextmanager
    def call(self, principal: Principal, model: str) -> Iterator[None]:
        """Count one call of a model, and hold a place in every limit on running calls that it
        falls under: the tenant's, the key's, and either's for the model."""
        tenant, key = principal.tenant, principal.key
        places = [_tenant_places(tenant)]
        if not (tenant.limits or key.limits):
            with self._places(places):
                yield
            return
        if key.limits.concurrency_max is not None:
            places.append(_Rule(f"k:{key.id}", key.limits.concurrency_max, f"key {key.id}"))
        rates = []
        for name, words, limits in (
            (f"t:{tenant.id}:{model}", f"tenant {tenant.id}", tenant.limits.of_model(model)),
            (f"k:{key.id}:{model}", f"key {key.id}", key.limits.of_model(model)),
        ):
            if limits.requests_per_minute is not None:
                rates.append(_Rule(name, limits.requests_per_minute, f"{words} of {model}"))
            if limits.concurrency_max is not None:
                places.append(_Rule(name, limits.concurrency_max, f"{words} of {model}"))
        with self._places(places):
            self._count(rates)
            yield

    def _count(self, limits: list[_Rule]) -> list[RateState]:
        """One token of each; none of any if one is empty."""
        now_s = self._clock.monotonic_s()
        taken = {}
        states = []
        for each in limits:
            limit = math.ceil(each.maximum / self._gateways)
            bucket, state, wait_s = take(self._buckets.get(each.name), limit, now_s)
            if wait_s > 0:
                raise RateLimited(
                    f"{each.words} may make {each.maximum} requests a minute; "
                    f"retry in {wait_s:.1f} s",
                    retry_after_s=wait_s,
                )
            taken[each.name] = bucket
            states.append(state)
        for name, bucket in taken.items():
            self._buckets.pop(name, None)
            self._buckets[name] = bucket
        while len(self._buckets) > _BUCKETS_MAX:
            # The longest unused; by then its bucket is full, or as good as.
            self._buckets.pop(next(iter(self._buckets)))
        return states

    @contextmanager
    def _places(self, limits: list[_Rule]) -> Iterator[None]:
        for each in limits:
            running = self._running.get(each.name, 0)
            if running >= math.ceil(each.maximum / self._gateways):
                raise RateLimited(
                    f"{each.words} already has {running} calls in progress, as many as it may; "
                    "wait for one to end",
                    code="concurrency_limit_exceeded",
                    retry_after_s=1.0,
                )
        for each in limits:
            self._running[each.name] = self._running.get(each.name, 0) + 1
        try:
            yield
        finally:
            for each in limits:
                left = self._running[each.name] - 1
                if left:
                    self._running[each.name] = left
                else:
                    del self._running[each.name]


def _tenant_places(tenant: Tenant) -> _Rule:
    return _Rule(f"t:{tenant.id}", tenant.concurrency_max, f"tenant {tenant.id}")
