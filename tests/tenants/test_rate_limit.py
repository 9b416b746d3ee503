"""The token bucket and the places for running calls."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xingyue.clock import FakeClock
from xingyue.errors import RateLimited
from xingyue.tenants.rate_limit import RateState, TenantLimiter, take
from xingyue.tenants.tenant import Tenant


def tenant(**limits):
    return Tenant("acme", "Acme", datetime(2026, 1, 1, tzinfo=UTC), **limits)


def test_the_headers_count_down_and_say_when_all_is_back():
    limiter = TenantLimiter(FakeClock())
    acme = tenant(rate_limit_requests=60)
    assert limiter.admit(acme) == RateState(60, 59, 1.0)
    assert limiter.admit(acme) == RateState(60, 58, 2.0)


def test_an_empty_bucket_refuses_and_says_how_long_to_wait():
    clock = FakeClock()
    limiter = TenantLimiter(clock)
    acme = tenant(rate_limit_requests=3)
    for _ in range(3):
        limiter.admit(acme)
    with pytest.raises(RateLimited, match="3 requests a minute") as caught:
        limiter.admit(acme)
    assert caught.value.retry_after_s == pytest.approx(20)
    clock.advance(caught.value.retry_after_s)
    assert limiter.admit(acme).remaining == 0


def test_gateways_share_a_limit():
    limiter = TenantLimiter(FakeClock(), gateways=2)
    assert limiter.admit(tenant(rate_limit_requests=60)).limit == 30


def test_a_lowered_limit_counts_at_once():
    limiter = TenantLimiter(FakeClock())
    limiter.admit(tenant(rate_limit_requests=6000))
    assert limiter.admit(tenant(rate_limit_requests=10)).remaining == 9


@given(
    limit=st.integers(1, 10_000),
    gaps_s=st.lists(st.floats(0, 120), min_size=1, max_size=200),
)
def test_never_more_than_a_full_bucket_plus_the_refill(limit, gaps_s):
    bucket, now_s, admitted = None, 0.0, 0
    for gap_s in gaps_s:
        now_s += gap_s
        bucket, state, wait_s = take(bucket, limit, now_s)
        admitted += wait_s == 0
        assert 0 <= state.remaining <= limit
        assert state.reset_s >= 0
    assert admitted <= limit + limit * (now_s - gaps_s[0]) / 60 + 1e-3


def test_places_are_counted_and_freed_whatever_happens():
    limiter = TenantLimiter(FakeClock())
    acme = tenant(concurrency_max=2)
    with limiter.slot(acme), pytest.raises(ValueError), limiter.slot(acme):  # noqa: PT012
        with pytest.raises(RateLimited, match="2 calls in progress") as caught, limiter.slot(acme):
            pass
        assert caught.value.code == "concurrency_limit_exceeded"
        raise ValueError
    with limiter.slot(acme), limiter.slot(acme):
        pass
