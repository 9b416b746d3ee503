"""The ledger's decisions, as tables: one row an operation, in order of precedence."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xingyue.errors import Internal, InvalidRequest
from xingyue.ledger.accounts import provider_reward, vendor_revenue
from xingyue.ledger.events import Share
from xingyue.ledger.rules import (
    ClaimFacts,
    ClaimState,
    ClaimVerdict,
    HoldState,
    PostFacts,
    PostPlan,
    Refusal,
    Source,
    check_amount,
    check_event,
    judge_claim,
    lease_grant_micros,
    plan_posting,
    split_by_bps,
)

ALL_WRONG = PostFacts(
    known_cost_micros=101,
    known_is_same=False,
    claim_alive=False,
    hold=HoldState.VOIDED,
    lease_room_micros=None,
    cash_micros=0,
)
NO_EVENT = replace(ALL_WRONG, known_cost_micros=None)
NO_LOST_CLAIM = replace(NO_EVENT, claim_alive=True)
NO_HOLD = replace(NO_LOST_CLAIM, hold=None)
CASH = replace(NO_HOLD, cash_micros=100)
LEASE = replace(CASH, lease_room_micros=100)


@pytest.mark.parametrize(
    ("cost", "facts", "expected"),
    [
        pytest.param(101, ALL_WRONG, Refusal.EVENT_ID_REUSED, id="1-event-id"),
        pytest.param(
            101,
            replace(ALL_WRONG, known_is_same=True),
            PostPlan(Source.NOTHING, already_posted=True),
            id="1-same-event-again",
        ),
        pytest.param(101, NO_EVENT, Refusal.CLAIM_LOST, id="2-claim"),
        pytest.param(101, NO_LOST_CLAIM, Refusal.HOLD_SETTLED, id="3-hold-voided"),
        pytest.param(
            101,
            replace(NO_LOST_CLAIM, hold=HoldState.POSTED),
            Refusal.HOLD_SETTLED,
            id="3-hold-posted",
        ),
        pytest.param(101, NO_HOLD, Refusal.COST_EXCEEDS_HOLD, id="4-limit"),
        pytest.param(100, NO_HOLD, Refusal.NOT_COVERED, id="5-money"),
        pytest.param(0, NO_HOLD, PostPlan(Source.NOTHING), id="free"),
        pytest.param(100, CASH, PostPlan(Source.CASH), id="from-cash"),
        pytest.param(
            100, replace(CASH, lease_room_micros=99), PostPlan(Source.CASH), id="lease-too-small"
        ),
        pytest.param(100, LEASE, PostPlan(Source.LEASE), id="from-lease"),
        pytest.param(
            100, replace(LEASE, hold=HoldState.EXPIRED), PostPlan(Source.LEASE), id="hold-expired"
        ),
        pytest.param(
            100, replace(LEASE, hold=HoldState.PENDING), PostPlan(Source.HOLD), id="from-hold"
        ),
        pytest.param(
            40,
            replace(LEASE, hold=HoldState.PENDING),
            PostPlan(Source.HOLD, refund_micros=60),
            id="from-hold-with-rest",
        ),
    ],
)
def test_plan_posting(cost, facts, expected):
    assert plan_posting(cost, 100, facts) == expected


@pytest.mark.parametrize(
    ("cash", "shortfall", "slice_micros", "granted"),
    [
        pytest.param(99, 100, 50, None, id="not-covered"),
        pytest.param(100, 100, 50, 100, id="the-last-cent"),
        pytest.param(149, 100, 50, 100, id="poor-takes-no-slice"),
        pytest.param(150, 100, 50, 112, id="a-quarter-of-what-is-spare"),
        pytest.param(10_000, 100, 50, 150, id="rich-takes-the-slice"),
        pytest.param(10_000, 1, 0, 1, id="no-slice"),
    ],
)
def test_lease_grant(cash, shortfall, slice_micros, granted):
    assert lease_grant_micros(cash, shortfall, slice_micros) == granted


@given(cash=st.integers(0, 10**12), shortfall=st.integers(1, 10**9), part=st.integers(0, 10**7))
def test_a_grant_covers_the_call_and_never_more_than_the_cash(cash, shortfall, part):
    granted = lease_grant_micros(cash, shortfall, part)
    assert (granted is None) == (cash < shortfall)
    if granted is not None:
        assert shortfall <= granted <= min(cash, shortfall + part)


NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER, BEFORE = NOW + timedelta(hours=1), NOW - timedelta(hours=1)
RUN, FIN = ClaimState.RUNNING, ClaimState.FINISHED


@pytest.mark.parametrize(
    ("request_hash", "state", "expires_at", "holder_alive", "verdict"),
    [
        pytest.param("other", FIN, BEFORE, True, ClaimVerdict.TAKE_OVER, id="past-retention"),
        pytest.param("other", FIN, LATER, True, ClaimVerdict.KEY_REUSED, id="other-body"),
        pytest.param("other", RUN, LATER, True, ClaimVerdict.KEY_REUSED, id="other-body-running"),
        pytest.param("other", RUN, LATER, False, ClaimVerdict.TAKE_OVER, id="other-body-dead"),
        pytest.param("same", FIN, LATER, False, ClaimVerdict.REPLAY, id="finished"),
        pytest.param("same", RUN, LATER, True, ClaimVerdict.IN_PROGRESS, id="running"),
        pytest.param("same", RUN, BEFORE, True, ClaimVerdict.IN_PROGRESS, id="running-for-long"),
        pytest.param("same", RUN, LATER, False, ClaimVerdict.TAKE_OVER, id="gateway-dead"),
    ],
)
def test_judge_claim(request_hash, state, expires_at, holder_alive, verdict):
    assert (
        judge_claim(ClaimFacts(request_hash, state, expires_at, holder_alive), "same", NOW)
        is verdict
    )


@given(
    cost=st.integers(0, 10**15),
    parts=st.lists(st.integers(0, 10_000), max_size=5).filter(lambda parts: sum(parts) <= 10_000),
)
def test_shares_round_down_and_never_exceed_the_cost(cost, parts):
    shares = split_by_bps(cost, {vendor_revenue(f"v{i}"): bps for i, bps in enumerate(parts)})
    rest = cost - sum(share.amount_micros for share in shares)
    assert all(share.amount_micros > 0 for share in shares)
    assert rest >= cost - cost * sum(parts) // 10_000


@pytest.mark.parametrize("parts", [{"a": -1}, {"a": 6000, "b": 4001}], ids=["negative", "over"])
def test_shares_that_do_not_add_up_are_refused(parts):
    with pytest.raises(InvalidRequest, match="10000 basis points"):
        split_by_bps(100, parts)


@pytest.mark.parametrize("amount", [-1, 10**15 + 1, 1.0, "1", True, None], ids=repr)
def test_an_amount_is_a_whole_number_in_range(amount):
    with pytest.raises(InvalidRequest) as caught:
        check_amount(amount, param="amount_micros")
    assert caught.value.param == "amount_micros"


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"id": ""}, "id"),
        ({"tenant_id": None}, "tenant_id"),
        ({"model": "a\0b"}, "model"),
        ({"request_id": "x" * 129}, "request_id"),
        ({"units": None}, "units"),
        ({"units": 1.5}, "units"),
        ({"units": -1}, "units"),
        ({"cost_micros": True}, "cost_micros"),
        ({"cost_micros": 10**16}, "cost_micros"),
        ({"created_at": datetime(2026, 1, 1)}, "created_at"),
        ({"shares": (Share("platform:revenue", 1),)}, "shares"),
        ({"shares": (Share(vendor_revenue("v"), -1),)}, "shares"),
        ({"shares": (Share(vendor_revenue("v"), 700), Share(provider_reward("p"), 501))}, "shares"),
    ],
    ids=str,
)
def test_a_malformed_event_is_a_fault_of_ours_by_field(make_event, change, param):
    with pytest.raises(Internal) as caught:
        check_event(replace(make_event(), **change))
    assert (caught.value.code, caught.value.param) == ("usage_malformed", param)
