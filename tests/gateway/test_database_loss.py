"""A real PostgreSQL goes away under load and comes back: answers and bills stay the same, both
ways, with the gateway never restarted."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter

import httpx
import pytest
from sqlalchemy import create_engine, text

from xingyue.ledger.reports import LedgerReports

pytestmark = pytest.mark.postgres

BASE = "appliance-surface-qc"
CALLERS = 6
POOL_MAX = 8


class Load:
    """Callers that ask again under the same key until they have an answer, as the protocol says."""

    def __init__(self, world) -> None:
        self.world = world
        self.stop = threading.Event()
        self.answered: dict[str, str] = {}
        self.refused: list[httpx.Response] = []
        self.threads = [threading.Thread(target=self.work) for _ in range(CALLERS)]

    def work(self) -> None:
        while not self.stop.is_set():
            name = uuid.uuid4().hex
            headers = {"idempotency-key": name, "x-request-id": name}
            while True:
                answer = self.world.inspect(BASE, "acme", headers=headers)
                if answer.status_code == 200:
                    self.answered[name] = answer.text
                    break
                self.refused.append(answer)
                time.sleep(0.1)

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def wait_for(self, more: int, timeout_s: float) -> float:
        """Seconds until so many more calls were answered."""
        began, before = time.monotonic(), len(self.answered)
        while len(self.answered) < before + more:
            assert time.monotonic() - began < timeout_s, "no answers"
            time.sleep(0.05)
        return time.monotonic() - began


def billed(engine) -> list[str]:
    """Request ids of events that stand."""
    reports, cursor, events = LedgerReports(engine), 0, []
    while page := reports.events(None, cursor, 1000):
        cursor = page[-1].cursor
        events += [item.event for item in page]
    undone = {event.id.removeprefix("rev_") for event in events if event.id.startswith("rev_")}
    return [
        event.request_id
        for event in events
        if not event.id.startswith("rev_") and event.id not in undone
    ]


def _code(answer: httpx.Response) -> str:
    return str(answer.json()["error"]["code"])


@pytest.mark.parametrize("lease_ttl_s", [30.0, 1.0], ids=["lease-outlives", "lease-lost"])
def test_a_database_that_goes_away_under_load(
    open_world, postgres_server, postgres_url, lease_ttl_s
):
    world = open_world(database_url=postgres_url, lease_ttl_s=lease_ttl_s)
    world.services.tenants.ensure_tenant("acme", "acme")
    world.services.tenants.update_tenant("acme", rate_limit_requests=1_000_000)
    key = world.key("acme")
    with Load(world) as load:
        load.wait_for(30, 60)
        count = create_engine(postgres_url)
        with count.connect() as connection:
            query = "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
            query += " AND backend_type = 'client backend'"
            assert connection.execute(text(query)).scalar() <= POOL_MAX
        count.dispose()
        postgres_server.stop()
        try:
            away, before = time.monotonic(), len(load.answered)
            load.refused.clear()
            while time.monotonic() - away < 2.5:
                time.sleep(0.1)
            # What was in the commit as it went may still have been answered; nothing after it.
            assert len(load.answered) - before <= CALLERS
            assert world.client.get("/healthz").status_code == 200
            usage = world.client.get("/v1/usage", headers={"authorization": f"Bearer {key}"})
            assert usage.status_code == 503
        finally:
            postgres_server.start()
        load.wait_for(30, 60)
    # A key is busy for the moment between the database's return and its release.
    away = [each for each in load.refused if _code(each) != "idempotency_in_progress"]
    assert {each.status_code for each in away} == {503}, Counter(map(_code, away))
    assert all(int(each.headers["retry-after"]) >= 1 for each in away)
    assert sorted(billed(world.services.engine)) == sorted(load.answered)
    again, first = next(iter(load.answered.items()))
    headers = {"idempotency-key": again}
    replayed = world.inspect(BASE, "acme", headers=headers)
    assert (replayed.text, replayed.headers["x-xingyue-replayed"]) == (first, "true")


def test_a_route_that_reads_the_database_says_so(open_world, postgres_server, postgres_url):
    world = open_world(database_url=postgres_url)
    headers = {"authorization": f"Bearer {world.key('acme')}"}
    assert world.client.get("/v1/usage", headers=headers).status_code == 200
    postgres_server.stop()
    try:
        answer = world.client.get("/v1/usage", headers=headers)
    finally:
        postgres_server.start()
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unavailable")
    assert answer.headers["retry-after"] == "1"
    assert world.client.get("/v1/usage", headers=headers).status_code == 200
