"""Variants in the database: numbered, signed, rolled out and back, each change once."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from xingyue.catalog.spec import Visibility
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.variants.models import Guard, VariantPrice

ACTOR = "key_1"
ID = "acme.drum"
PRICE = VariantPrice(3000)


def actions(store):
    return [event.action for event in reversed(store.events(ID))]


@pytest.fixture
def two(store, make_new):
    for _ in range(2):
        store.add_version(make_new())
    return store


def test_versions_are_numbered_and_the_first_serves_its_owner(store, make_new):
    first, second = store.add_version(make_new()), store.add_version(make_new())
    assert (first.id, second.id) == ("acme.drum@1", "acme.drum@2")
    snapshot = store.get(ID)
    assert snapshot.variant.visibility is Visibility.PRIVATE
    assert snapshot.variant.route.stable == "1"
    assert snapshot.versions == {"1": first, "2": second}
    assert second.released_at is None
    assert actions(store) == ["add_version", "add_version"]


def test_a_job_is_taken_in_once(store, make_new):
    new = make_new()
    assert store.add_version(new) == store.add_version(new)
    assert len(store.get(ID).versions) == 1


def test_concurrent_jobs_get_numbers_of_their_own(store, make_new):
    jobs = [make_new() for _ in range(6)]
    threads = [threading.Thread(target=store.add_version, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(store.get(ID).versions) == ["1", "2", "3", "4", "5", "6"]


@pytest.mark.parametrize("parity", [2e-3, float("nan"), float("inf")])
def test_a_head_that_differs_from_the_trained_one_is_refused(store, make_new, parity):
    with pytest.raises(Conflict) as caught:
        store.add_version(make_new(parity=parity))
    assert caught.value.code == "parity_failed"
    assert store.get(ID) is None


@pytest.mark.parametrize("suffix", ["", "-a", "a-", "A", "a.b", "a@b", "a/b", "x" * 47])
def test_suffixes_that_name_nothing(store, make_new, suffix):
    with pytest.raises(InvalidRequest) as caught:
        store.add_version(make_new(suffix=suffix))
    assert caught.value.param == "suffix"


def test_lineage_stays_within_the_tenant(store, make_new):
    store.add_version(make_new())
    child = store.add_version(make_new(suffix="drum-2", parent="acme.drum@1"))
    assert child.facts.parent == "acme.drum@1"
    for parent in ("acme.drum@9", "acme.nothing@1", "acme.drum", "appliance-surface-qc"):
        with pytest.raises(InvalidRequest, match="parent"):
            store.add_version(make_new(suffix="other", parent=parent))
    with pytest.raises(InvalidRequest, match="parent"):
        store.add_version(make_new(tenant_id="rival", parent="acme.drum@1"))


def test_one_suffix_has_one_base(store, make_new):
    store.add_version(make_new())
    with pytest.raises(Conflict) as caught:
        store.add_version(make_new(base_model="lighting-defect-detection"))
    assert caught.value.code == "base_differs"


def test_listing_needs_a_price_and_publishing_again_changes_nothing(store, make_new):
    store.add_version(make_new())
    with pytest.raises(InvalidRequest) as caught:
        store.publish("acme", ID, Visibility.LISTED, actor=ACTOR)
    assert caught.value.param == "price"
    for _ in range(2):
        done = store.publish("acme", ID, Visibility.LISTED, price=PRICE, actor=ACTOR)
    assert done.variant.visibility is Visibility.LISTED
    assert done.variant.price == PRICE
    assert actions(store) == ["add_version", "publish"]
    assert store.events(ID)[0].actor == ACTOR


def test_rollout_promotes_and_rollback_returns(two):
    canary = two.rollout("acme", ID, "2", 20, guard=Guard(calls_min=50), actor=ACTOR)
    route = canary.variant.route
    assert (route.stable, route.canary, route.percent, route.epoch) == ("1", "2", 20, 1)
    assert route.guard.calls_min == 50
    assert canary.versions["2"].released_at is not None
    stable = two.rollout("acme", ID, "2", 100, actor=ACTOR).variant.route
    assert (stable.stable, stable.canary, stable.history) == ("2", None, ("1",))
    back = two.rollback("acme", ID, actor=ACTOR).variant.route
    assert (back.stable, back.history) == ("1", ())
    with pytest.raises(Conflict) as caught:
        two.rollback("acme", ID, actor=ACTOR)
    assert caught.value.code == "nothing_to_roll_back"


def test_rollback_ends_a_canary_first(two):
    two.rollout("acme", ID, "2", 20, actor=ACTOR)
    route = two.rollback("acme", ID, actor=ACTOR).variant.route
    assert (route.stable, route.canary) == ("1", None)


def test_rollback_to_a_named_version_is_idempotent(two):
    two.rollout("acme", ID, "2", 100, actor=ACTOR)
    for _ in range(2):
        assert two.rollback("acme", ID, "1", actor=ACTOR).variant.route.stable == "1"
    assert actions(two).count("rollback") == 1


def test_aliases_move_and_go(two):
    two.set_alias("acme", ID, "line-3", "1", actor=ACTOR)
    assert two.set_alias("acme", ID, "line-3", "2", actor=ACTOR).aliases == {"line-3": "2"}
    assert two.set_alias("acme", ID, "line-3", None, actor=ACTOR).aliases == {}
    for name in ("latest", "stable", "canary", "7", "A", ""):
        with pytest.raises(InvalidRequest):
            two.set_alias("acme", ID, name, "1", actor=ACTOR)
    with pytest.raises(NotFound):
        two.set_alias("acme", ID, "line-3", "9", actor=ACTOR)


def test_retiring_has_a_date_that_can_be_taken_back(two, clock):
    two.publish("acme", ID, Visibility.LISTED, price=PRICE, actor=ACTOR)
    done = two.retire("acme", ID, "2026-02-01", successor="acme.drum-2", actor=ACTOR)
    assert done.variant.shutdown_at.isoformat() == "2026-02-01T00:00:00+00:00"
    assert [each.variant.id for each in two.callable_by("other")] == [ID]
    clock.advance(40 * 86_400)
    assert two.callable_by("other") == []
    assert two.retire("acme", ID, None, actor=ACTOR).variant.shutdown_at is None
    with pytest.raises(InvalidRequest, match="2027-03-31"):
        two.retire("acme", ID, "soon", actor=ACTOR)


def test_only_what_was_never_listed_can_be_deleted(two, make_new):
    gone = two.delete("acme", ID, actor=ACTOR)
    assert [version.version for version in gone] == ["1", "2"]
    assert two.get(ID) is None
    again = two.add_version(make_new())
    assert again.version == "3"
    assert two.get(ID).variant.route.stable == "3"
    two.publish("acme", ID, Visibility.LISTED, price=PRICE, actor=ACTOR)
    two.publish("acme", ID, Visibility.PRIVATE, actor=ACTOR)
    with pytest.raises(Conflict) as caught:
        two.delete("acme", ID, actor=ACTOR)
    assert caught.value.code == "was_listed"


CHANGES = {
    "publish": lambda store, tenant: store.publish(tenant, ID, Visibility.PRIVATE, actor=ACTOR),
    "rollout": lambda store, tenant: store.rollout(tenant, ID, "2", 10, actor=ACTOR),
    "rollback": lambda store, tenant: store.rollback(tenant, ID, actor=ACTOR),
    "alias": lambda store, tenant: store.set_alias(tenant, ID, "a", "1", actor=ACTOR),
    "retire": lambda store, tenant: store.retire(tenant, ID, "2027-01-01", actor=ACTOR),
    "delete": lambda store, tenant: store.delete(tenant, ID, actor=ACTOR),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_nobody_else_finds_it(two, change):
    before = two.get(ID)
    with pytest.raises(NotFound) as caught:
        change(two, "rival")
    assert caught.value.code == "variant_not_found"
    assert two.get(ID) == before


def test_who_may_call_what(store, make_new):
    store.add_version(make_new())
    store.add_version(make_new(tenant_id="rival", suffix="lamp"))
    store.publish("rival", "rival.lamp", Visibility.LISTED, price=PRICE, actor=ACTOR)
    assert [each.variant.id for each in store.callable_by("acme")] == [ID, "rival.lamp"]
    assert [each.variant.id for each in store.callable_by("rival")] == ["rival.lamp"]
    assert [each.variant.id for each in store.of_tenant("acme")] == [ID]


def test_changes_are_told_by_revision(two, make_new):
    start, _ = two.changed_since(0)
    assert two.changed_since(start) == (start, [])
    two.add_version(make_new(suffix="other"))
    two.rollout("acme", ID, "2", 10, actor=ACTOR)
    newest, ids = two.changed_since(start)
    assert newest > start
    assert sorted(ids) == [ID, "acme.other"]
    two.delete("acme", ID, actor=ACTOR)
    assert two.changed_since(newest)[1] == [ID]


def test_facts_come_back_as_they_were_signed(store, make_new):
    new = replace(make_new(), metrics={"auroc": 0.1 + 0.2, "tiny": 1e-300})
    store.add_version(new)
    assert store.get(ID).versions["1"].facts == new
