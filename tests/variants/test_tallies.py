"""Counting calls, and the rollback that happens once."""

from __future__ import annotations

import asyncio
import threading

import pytest
from sqlalchemy.exc import OperationalError

from xingyue.errors import DeadlineExceeded, Internal, InvalidRequest, Overloaded
from xingyue.variants.canary import BINS, Tally
from xingyue.variants.recorder import Recorder, Watch
from xingyue.variants.tallies import Arm, Tallies

ID = "acme.drum"


@pytest.fixture
def tallies(engine, clock):
    return Tallies(engine, clock=clock)


@pytest.fixture
def canary(store, make_new):
    """Version 2 takes a tenth of the callers."""
    for _ in range(2):
        store.add_version(make_new())
    store.rollout("acme", ID, "2", 10, actor="key_1")
    return Arm(ID, "2", 1)


def test_counts_add_up(tallies, canary):
    scores = [1] * BINS
    for _ in range(3):
        assert tallies.fold({canary: Tally(2, 0, 1, 1, scores)}) == {}
    assert tallies.of(ID) == {canary: Tally(6, 0, 3, 3, [3] * BINS)}


def test_gateways_that_fold_together_roll_back_once(tallies, store, canary):
    reasons = []
    threads = [
        threading.Thread(target=lambda: reasons.append(tallies.fold({canary: Tally(30, 30)})))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(ID in reason for reason in reasons) == 1
    assert store.get(ID).variant.route.canary is None
    assert [event.action for event in store.events(ID)].count("auto_rollback") == 1
    assert tallies.of(ID)[canary].calls == 120


def test_an_old_canary_is_not_judged_with_the_new_ones_numbers(tallies, store, canary):
    tallies.fold({canary: Tally(29, 29)})
    store.rollback("acme", ID, actor="key_1")
    store.rollout("acme", ID, "2", 10, actor="key_1")
    assert tallies.fold({Arm(ID, "2", 2): Tally(10)}) == {}
    assert store.get(ID).variant.route.canary == "2"
    # What a slow gateway still had of the old one.
    assert tallies.fold({canary: Tally(29, 29)}) == {}


def test_a_deleted_variants_counts_are_dropped(tallies, store, canary):
    store.delete("acme", ID, actor="key_1")
    assert tallies.fold({canary: Tally(30, 30)}) == {}
    assert tallies.of(ID) == {}


def test_a_young_canary_is_held_against_all_of_the_stable_versions_life(tallies, store, canary):
    low, high = [0] * BINS, [0] * BINS
    low[1], high[15] = 100, 40
    tallies.fold({Arm(ID, "1", 0): Tally(100, scores=low)})
    broken = tallies.fold({canary: Tally(40, scores=high)})
    assert "Kolmogorov" in broken[ID]


def test_the_recorder_knows_whose_fault_it_was(tallies, canary, clock):
    recorder = Recorder(tallies, clock=clock)
    watch = Watch(canary, urgent=True)
    recorder.answered(watch, {"verdict": "fail", "score": 0.97})
    recorder.answered(watch, {"embedding": []})
    recorder.failed(watch, InvalidRequest("no image"))
    recorder.failed(watch, Internal("fault"))
    recorder.failed(watch, DeadlineExceeded("slow"))
    recorder.failed(watch, Overloaded("shed"))
    asyncio.run(recorder.flush())
    scores = [0] * BINS
    scores[19] = 1
    assert tallies.of(ID) == {canary: Tally(5, 2, 1, 1, scores)}


def test_what_is_not_urgent_waits_a_minute(tallies, canary, clock):
    recorder = Recorder(tallies, clock=clock)
    recorder.answered(Watch(Arm(ID, "1", 0), urgent=False), {})
    asyncio.run(recorder.flush())
    assert tallies.of(ID) == {}
    clock.advance(60)
    asyncio.run(recorder.flush())
    assert tallies.of(ID)[Arm(ID, "1", 0)].calls == 1


class Down(Tallies):
    down = True

    def fold(self, counted):
        if self.down:
            raise OperationalError("update", {}, Exception("gone"))
        return super().fold(counted)


def test_counts_survive_a_database_that_is_away(engine, canary, clock):
    tallies = Down(engine, clock=clock)
    rolled_back = []
    recorder = Recorder(tallies, clock=clock, on_rollback=rolled_back.append)
    for _ in range(30):
        recorder.failed(Watch(canary, urgent=True), Internal("fault"))
    with pytest.raises(OperationalError):
        asyncio.run(recorder.flush())
    tallies.down = False
    asyncio.run(recorder.flush())
    assert tallies.of(ID)[canary].errors == 30
    assert rolled_back == [ID]
