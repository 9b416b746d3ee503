"""Real processes, really killed: every answered call is on the books once, and the books close."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

from xingyue.clock import FakeClock, SystemClock
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.reports import LedgerReports
from xingyue.ledger.store import LedgerStore
from xingyue.storage.database import create_schema, open_engine

CHILD = Path(__file__).with_name("meter_child.py")
ROUNDS = 5
TOP_UPS = {"acme": 10**9, "poor": 300_000}


def spawn(url, gateway_id, lines):
    child = subprocess.Popen(
        [sys.executable, str(CHILD), url, gateway_id], stdout=subprocess.PIPE, text=True
    )
    ready = threading.Event()

    def read():
        for line in child.stdout:
            if line.strip() == "ready":
                ready.set()
            elif line.endswith("\n"):
                lines.append(line.split())

    reader = threading.Thread(target=read)
    reader.start()
    assert ready.wait(60)
    return child, reader


def all_events(engine):
    reports, cursor, found = LedgerReports(engine), 0, []
    while page := reports.events(None, cursor, 1000):
        cursor = page[-1].cursor
        found += [item.event for item in page]
    return found


def test_kill_9_loses_nothing_answered_and_bills_nothing_twice(url):
    engine = open_engine(url)
    create_schema(engine)
    store = LedgerStore(engine)
    for tenant, amount in TOP_UPS.items():
        store.top_up(tenant, amount, "r")
    answered = []
    for number in range(ROUNDS):
        # The second is a new process under an old name, fenced against its dead self.
        children = [spawn(url, name, answered) for name in (f"round-{number}", "always-the-same")]
        for child, reader in children:
            time.sleep(random.uniform(0.05, 0.6))
            child.kill()
            child.wait()
            reader.join()
            child.stdout.close()
        assert trial_balance(engine).ok

    events = {event.id: event for event in all_events(engine)}
    assert answered
    assert Counter(line[0] for line in answered).most_common(1)[0][1] == 1
    for event_id, tenant, cost in answered:
        assert (events[event_id].tenant_id, events[event_id].cost_micros) == (tenant, int(cost))
    # Killed between commit and answer: at most what was in flight in each of the processes.
    assert len(events) - len(answered) <= 2 * ROUNDS * 16

    later = FakeClock(SystemClock().now())
    later.advance(3600)
    LedgerStore(engine, clock=later).reclaim_expired()
    assert trial_balance(engine).ok
    for tenant, amount in TOP_UPS.items():
        spent = sum(event.cost_micros for event in events.values() if event.tenant_id == tenant)
        balance = store.balance(tenant)
        assert (balance.cash_micros, balance.held_micros) == (amount - spent, 0)
    engine.dispose()
