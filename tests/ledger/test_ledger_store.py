"""The store alone: groups of operations on both databases."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from xingyue.errors import Conflict, InvalidRequest
from xingyue.ledger.accounts import (
    PLATFORM_REVENUE,
    FundingSource,
    cash,
    provider_reward,
    vendor_revenue,
)
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.events import Share
from xingyue.ledger.idempotency import Idempotency
from xingyue.ledger.journal import Journal
from xingyue.ledger.operations import (
    Batch,
    Claim,
    Claimed,
    ClaimRefused,
    CloseSession,
    GiveBack,
    GivenBack,
    Grant,
    Granted,
    Heartbeat,
    NotCovered,
    OpenSession,
    Post,
    Posted,
    Replay,
    Reverse,
    SessionLost,
    Void,
)
from xingyue.ledger.rules import ClaimVerdict, Refusal, SessionState, Source
from xingyue.ledger.sessions import end
from xingyue.ledger.store import Balance
from xingyue.storage.database import begin_write


class Gateway:
    """Numbers its groups, as the writer does."""

    def __init__(self, store, gateway_id, session=None):
        self.store, self.number, self.session = store, 0, session or f"ses_{gateway_id}"
        self.do(OpenSession(self.session, gateway_id, 30))

    def do_all(self, *operations):
        self.number += 1
        return self.store.apply(Batch(self.session, self.number, operations))

    def do(self, operation):
        return self.do_all(operation)[0]


@pytest.fixture
def gateway(store):
    return Gateway(store, "g1")


@pytest.fixture
def other(store):
    return Gateway(store, "g2")


def test_a_top_up_counts_once_per_reference(store):
    assert store.top_up("acme", 500, "invoice-1")
    assert not store.top_up("acme", 500, "invoice-1")
    assert store.top_up("other", 500, "invoice-1")
    assert store.balance("acme") == Balance(500, 0, 0)
    with pytest.raises(Conflict) as caught:
        store.top_up("acme", 501, "invoice-1")
    assert caught.value.code == "reference_reused"
    with pytest.raises(Conflict):
        store.top_up("acme", 500, "invoice-1", source=FundingSource.VOUCHER)


@pytest.mark.parametrize(
    ("arguments", "param"),
    [
        (("acme", 0, "r"), "amount_micros"),
        (("acme", 5, ""), "reference"),
        (("ACME!", 5, "r"), "tenant_id"),
    ],
    ids=str,
)
def test_a_malformed_top_up_is_refused_by_field(store, arguments, param):
    with pytest.raises(InvalidRequest) as caught:
        store.top_up(*arguments)
    assert caught.value.param == param


def test_top_ups_from_several_threads_count_once(store):
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(store.top_up("acme", 5, "r")))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [False] * 5 + [True]
    assert store.balance("acme").cash_micros == 5


def test_a_lease_moves_cash_to_held_and_posting_moves_held_to_revenue(
    store, gateway, engine, make_event
):
    store.top_up("acme", 10_000, "r")
    lease = gateway.do(Grant("acme", 1200, 2000))
    assert lease == Granted(lease.lease_id, 3200, 0)
    assert store.balance("acme") == Balance(6800, 3200, 3200)
    shares = (Share(vendor_revenue("v"), 700), Share(provider_reward("p"), 100))
    event = make_event(shares=shares)
    assert gateway.do(Post(event, 1200, lease.lease_id)) == Posted(Source.LEASE)
    assert store.balance("acme") == Balance(6800, 2000, 2000)
    books = trial_balance(engine).by_account
    assert books[vendor_revenue("v")] == 700
    assert books[provider_reward("p")] == 100
    assert books[PLATFORM_REVENUE] == 400
    assert books["funding:payment"] == -10_000


def test_an_event_is_posted_once_within_a_group_and_across(store, gateway, make_event):
    store.top_up("acme", 10_000, "r")
    lease = gateway.do(Grant("acme", 5000, 0)).lease_id
    post = Post(make_event(), 1200, lease)
    assert gateway.do_all(post, post) == [Posted(Source.LEASE), Posted(Source.NOTHING)]
    assert gateway.do(post) == Posted(Source.NOTHING)
    forged = replace(post, event=replace(post.event, cost_micros=1))
    assert gateway.do(forged) is Refusal.EVENT_ID_REUSED
    assert store.balance("acme").available_micros == 8800


def test_a_refused_posting_leaves_its_group_alone(store, gateway, make_event):
    store.top_up("acme", 1200, "r")
    lease = gateway.do(Grant("acme", 1200, 0)).lease_id
    first, second, free = (
        Post(make_event(), 1200, lease),
        Post(make_event(), 1200, lease),
        Post(make_event(cost_micros=0), 0),
    )
    assert gateway.do_all(first, second, free) == [
        Posted(Source.LEASE),
        Refusal.NOT_COVERED,
        Posted(Source.NOTHING),
    ]


def test_a_reclaimed_lease_cannot_be_spent_but_cash_can(store, gateway, other, clock, make_event):
    store.top_up("acme", 2000, "r")
    lease = gateway.do(Grant("acme", 2000, 0)).lease_id
    assert other.do(Grant("acme", 500, 0)) == NotCovered(0, 2000)
    clock.advance(29)
    other.do(Heartbeat(30, 30))
    clock.advance(2)
    other.do(Heartbeat(30, 30))
    assert store.balance("acme") == Balance(2000, 0, 0)
    assert gateway.do(Heartbeat(30, 30)) == SessionLost()
    assert gateway.do(Grant("acme", 1, 0)) == SessionLost()
    assert gateway.do(Post(make_event(), 1200, lease)) == Posted(Source.CASH)
    assert gateway.do(Post(make_event(), 1200, lease)) is Refusal.NOT_COVERED
    assert store.balance("acme") == Balance(800, 0, 0)


def test_a_lease_of_another_gateway_is_not_spent(store, gateway, other, make_event):
    store.top_up("acme", 2000, "r")
    lease = gateway.do(Grant("acme", 2000, 0)).lease_id
    assert other.do(Post(make_event(), 1200, lease)) is Refusal.NOT_COVERED


def test_recall_names_the_leases_whose_money_is_wanted(store, gateway, other):
    store.top_up("acme", 2000, "r")
    lease = gateway.do(Grant("acme", 2000, 0)).lease_id
    assert store.recalled_leases(gateway.session) == []
    other.do(Grant("acme", 500, 0))
    assert store.recalled_leases(gateway.session) == [lease]
    assert gateway.do(GiveBack(lease, 300)) == GivenBack(300, closed=False)
    assert store.recalled_leases(gateway.session) == []
    assert isinstance(other.do(Grant("acme", 500, 0)), Granted)


def test_giving_back_closes_a_lease_and_a_second_time_is_harmless(store, gateway):
    store.top_up("acme", 2000, "r")
    lease = gateway.do(Grant("acme", 2000, 0)).lease_id
    assert gateway.do(GiveBack(lease, 0)) == GivenBack(0, closed=True)
    assert gateway.do(GiveBack(lease, 0)) == GivenBack(0, closed=True)
    assert store.balance("acme") == Balance(2000, 0, 0)


def test_the_same_gateway_started_anew_fences_its_former_self(store, gateway, make_event):
    store.top_up("acme", 2000, "r")
    lease = gateway.do(Grant("acme", 2000, 0)).lease_id
    Gateway(store, "g1", session="ses_again")
    assert store.balance("acme") == Balance(2000, 0, 0)
    assert gateway.do(Grant("acme", 1, 0)) == SessionLost()
    assert gateway.do(Post(make_event(), 1200, lease)) == Posted(Source.CASH)


def key(name="k", body=b""):
    return Idempotency.of(name, method="POST", path="/v1/x", body=body)


def test_one_claim_wins_within_a_group(gateway):
    outcomes = gateway.do_all(Claim("acme", key(), "t1"), Claim("acme", key(), "t2"))
    assert outcomes == [Claimed("t1"), ClaimRefused(ClaimVerdict.IN_PROGRESS)]
    assert gateway.do(Claim("other", key(), "t3")) == Claimed("t3")
    assert gateway.do(Claim("acme", key(body=b"x"), "t4")) == ClaimRefused(ClaimVerdict.KEY_REUSED)


def test_a_claim_of_a_dead_gateway_is_taken_over_and_its_posting_refused(
    store, gateway, other, clock, make_event
):
    store.top_up("acme", 10_000, "r")
    gateway.do(Claim("acme", key(), "t1"))
    clock.advance(31)
    other.do(Heartbeat(30, 30))
    assert other.do(Claim("acme", key(), "t2")) == Claimed("t2")
    assert gateway.do(Post(make_event(), 1200, claim="t1")) is Refusal.CLAIM_LOST
    assert other.do(Post(make_event(), 1200, claim="t2")) == Posted(Source.CASH)
    assert gateway.do(Void(None, "t1")).lease_refund_micros == 0
    assert other.do(Claim("acme", key(), "t3")).event_id == "evt_2"


def test_voiding_after_posting_changes_nothing(gateway, make_event):
    gateway.do(Claim("acme", key(), "t1"))
    gateway.do(Post(make_event(cost_micros=0), 0, claim="t1"))
    gateway.do(Void(None, "t1"))
    assert isinstance(gateway.do(Claim("acme", key(), "t2")), Replay)


def test_a_reversal_gives_everyones_share_back_once(store, gateway, engine, make_event):
    store.top_up("acme", 2000, "r")
    gateway.do(Claim("acme", key(), "t1"))
    event = make_event(shares=(Share(vendor_revenue("v"), 700),))
    gateway.do(Post(event, 1200, claim="t1"))
    assert gateway.do_all(Reverse(event.id), Reverse("evt_none")) == [True, False]
    assert gateway.do(Reverse(event.id)) is False
    books = trial_balance(engine)
    assert books.by_account[cash("acme")] == 2000
    assert books.by_account[vendor_revenue("v")] == books.by_account[PLATFORM_REVENUE] == 0
    assert gateway.do(Claim("acme", key(), "t2")) == Claimed("t2")


def test_a_closed_session_gives_all_back(store, gateway):
    store.top_up("acme", 5000, "r")
    gateway.do(Grant("acme", 2000, 0))
    gateway.do(CloseSession(gateway.session))
    assert store.balance("acme") == Balance(5000, 0, 0)


def test_the_last_group_of_a_session_is_on_record(store, gateway):
    assert store.was_committed(Batch(gateway.session, gateway.number, ()))
    assert not store.was_committed(Batch(gateway.session, gateway.number + 1, ()))
    assert not store.was_committed(Batch("ses_never", 1, ()))


def test_finished_keys_are_purged_after_a_day_and_running_ones_when_dead(
    store, gateway, clock, make_event
):
    gateway.do_all(Claim("acme", key("a"), "t1"), Claim("acme", key("b"), "t2"))
    gateway.do(Post(make_event(cost_micros=0), 0, claim="t1"))
    assert store.purge_idempotency() == 0
    clock.advance(24 * 3600)
    assert store.purge_idempotency() == 1
    store.reclaim_expired()
    assert store.purge_idempotency() == 1


@pytest.mark.parametrize("table", ["transfers", "usage_events"])
@pytest.mark.parametrize(
    "statement", ["UPDATE {} SET created_at = 0", "DELETE FROM {}"], ids=["update", "delete"]
)
def test_the_database_itself_refuses_to_change_history(
    store, gateway, engine, make_event, table, statement
):
    store.top_up("acme", 2000, "r")
    gateway.do(Post(make_event(), 1200))
    with pytest.raises(DBAPIError, match="append-only"), begin_write(engine) as connection:
        connection.execute(text(statement.format(table)))


def test_the_database_itself_refuses_an_overdraft(store, engine):
    store.top_up("acme", 2000, "r")
    with pytest.raises(DBAPIError), begin_write(engine) as connection:
        connection.execute(text("UPDATE accounts SET balance_micros = -1 WHERE id LIKE 'tenant:%'"))


def test_a_session_ended_by_whoever_wrote_before_is_lost(engine, store, clock):
    """A gateway's group waits for the writers' lock while another gateway buries its session: it
    must see that, or it would lease money to the dead, and nobody would take it back."""
    store.top_up("acme", 1000, "r")
    store.apply(Batch("s1", 1, [OpenSession("s1", "g1", 30)]))
    with ThreadPoolExecutor(1) as pool:
        with begin_write(engine) as connection:
            journal = Journal(connection, clock.now())
            waiting = pool.submit(store.apply, Batch("s1", 2, [Grant("acme", 100, 100)]))
            time.sleep(0.3)
            assert not waiting.done()
            end(journal, "s1", SessionState.DEAD)
            journal.flush()
        assert waiting.result(10) == [SessionLost()]
    assert store.balance("acme").held_micros == 0
