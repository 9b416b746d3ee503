"""The promise under some hundred seeds; ``make simulate SEEDS=5000`` tries more of them."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

import pytest
from ledger_simulator import gateway, world

SEEDS = 100
STEP = 20


@pytest.fixture(scope="module")
def disk():
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        yield world.Disk(Path(folder))


@pytest.fixture(autouse=True)
def quiet():
    """The meter warns of each mishap, thousands of times."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(1, SEEDS, STEP))
def test_the_promise_is_kept(disk, first):
    for seed in range(first, first + STEP):
        try:
            world.simulate(disk, seed)
        except BaseException as error:
            error.add_note(
                f"again: PYTHONPATH=tests/simulator python -m ledger_simulator "
                f"--seeds 1 --from {seed}"
            )
            raise


def test_a_seed_is_the_same_run_each_time(disk):
    def trace(seed):
        world.simulate(disk, seed)
        with disk.engine.connect() as connection:
            return [
                tuple(row)
                for table in ("transfers", "usage_events", "leases", "holds")
                for row in connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1")
            ]

    first = trace(7)
    assert len(first) > 20
    assert trace(7) == first
    assert trace(8) != first


def answers_before_it_is_durable(monkeypatch):
    def answers(self, items, results):
        told = [None if isinstance(result, Exception) else result for result in results]
        self._loop.call_soon(self._settle, items, told)

    monkeypatch.setattr(gateway.InlineWriter, "_answer", answers)


def runs_a_retry_anew(monkeypatch):
    monkeypatch.setattr(gateway.Call, "idempotency", property(lambda call: None))


@pytest.mark.parametrize("fault", [answers_before_it_is_durable, runs_a_retry_anew])
def test_a_meter_that_breaks_the_promise_is_found_out(disk, monkeypatch, fault):
    """The simulator itself on trial."""
    fault(monkeypatch)

    def some_seeds():
        for seed in range(1, 40):
            world.simulate(disk, seed)

    with pytest.raises(AssertionError, match=r"answered|billed|keeps"):
        some_seeds()
