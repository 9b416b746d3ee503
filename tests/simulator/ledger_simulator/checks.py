"""The promise, against what the callers of one run were told."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from xingyue.ledger import accounts
from xingyue.ledger.accounts import FundingSource
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.events import UsageEvent
from xingyue.ledger.reports import LedgerReports

if TYPE_CHECKING:
    from .world import World


def check_books(world: World) -> None:
    """At any moment: it balances, nothing is overdrawn, what is held is what is open."""
    balance = trial_balance(world.database.engine)
    assert balance.ok, balance


def standing(world: World) -> list[UsageEvent]:
    """Events that were not reversed."""
    reports, cursor, events = LedgerReports(world.database.engine), 0, []
    while page := reports.events(None, cursor, 1000):
        cursor = page[-1].cursor
        events += [item.event for item in page]
    assert len({event.id for event in events}) == len(events)
    undone = {event.id.removeprefix("rev_") for event in events if event.kind == "reversal"}
    return [e for e in events if e.kind != "reversal" and e.id not in undone]


def check(world: World) -> None:
    """At the end, when all leases and holds have run out."""
    events = standing(world)
    by_call = Counter(event.request_id for event in events)
    twice = [name for name, count in by_call.items() if count > 1]
    assert not twice, f"billed twice: {twice}"

    billed = {event.request_id: event.id for event in events}
    unbilled = {name: event for name, event in world.answered.items() if billed.get(name) != event}
    assert not unbilled, f"answered and not billed: {unbilled}"
    unanswered = set(billed) - set(world.answered) - world.in_the_dark
    assert not unanswered, f"billed, though the caller was told that it failed: {unanswered}"

    balance = trial_balance(world.database.engine)
    assert balance.ok, balance
    books = balance.by_account
    held = {name: amount for name, amount in books.items() if name.endswith(":held") and amount}
    assert not held, f"held for nobody: {held}"
    alive = {name: amount for name, amount in books.items() if name.startswith("voucher:")}
    paid = sum(world.paid_in.values())
    assert books[accounts.funding(FundingSource.PAYMENT)] == -paid
    earned = sum(
        amount
        for name, amount in books.items()
        if name.startswith(("platform:", "vendor:", "provider:"))
    )
    assert earned == sum(event.cost_micros for event in events)
    for tenant in world.paid_in:
        spent = sum(event.cost_micros for event in events if event.tenant_id == tenant)
        left = books.get(accounts.cash(tenant), 0)
        assert left >= world.paid_in[tenant] - spent
        if tenant != "holder":
            assert left == world.paid_in[tenant] - spent
    assert all(amount >= 0 for amount in alive.values())
