"""The price book's decisions, pure: which entry holds, and what a month's units cost."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from xingyue.errors import Conflict, InvalidRequest
from xingyue.pricing.models import NewPrice, PriceEntry, Tier

AMOUNT_MAX_MICROS = 10**12
UNITS_MAX = 10**12
TIERS_MAX = 16
CLOCK_SKEW_S = 60
"""How far in the past a start may lie, for clocks that differ."""


def select_entry(
    entries: Iterable[PriceEntry], model: str, tenant_id: str, now: datetime
) -> PriceEntry | None:
    """The tenant's own before everyone's; among those the one that took effect last."""
    best = None
    for entry in entries:
        if entry.model != model or entry.tenant_id not in (None, tenant_id):
            continue
        if entry.effective_from > now:
            continue
        if entry.effective_until is not None and entry.effective_until <= now:
            continue
        if best is None or _rank(entry) > _rank(best):
            best = entry
    return best


def _rank(entry: PriceEntry) -> tuple[bool, datetime, datetime, str]:
    return entry.tenant_id is not None, entry.effective_from, entry.created_at, entry.id


def capacities(tiers: Sequence[Tier]) -> list[int | None]:
    """How many units of a month each tier holds; None for no end."""
    below = 0
    found: list[int | None] = []
    for tier in tiers:
        found.append(None if tier.up_to is None else tier.up_to - below)
        below = tier.up_to or below
    return found


def cost_micros(parts: Iterable[tuple[int, int]], per: int) -> int:
    """``parts``: (units, micros per ``per`` units). Rounded up to a whole micro, once."""
    return -(-sum(units * amount for units, amount in parts) // per)


def take_first(parts: Sequence[tuple[int, int]], units: int) -> list[tuple[int, int]]:
    """The first ``units`` of what was set aside, in the order of the tiers."""
    taken = []
    for available, amount in parts:
        use = min(available, units)
        units -= use
        taken.append((use, amount))
    return taken


def check_new(price: NewPrice, now: datetime) -> datetime:
    """When it takes effect. InvalidRequest names the field."""
    start = price.effective_from or now
    if start < now - timedelta(seconds=CLOCK_SKEW_S):
        raise InvalidRequest(
            "effective_from lies in the past; a bill is never changed by a later price, so a price "
            "may start now or later",
            param="effective_from",
        )
    if price.effective_until is not None and price.effective_until <= start:
        raise InvalidRequest(
            "effective_until must be later than effective_from", param="effective_until"
        )
    for name, value, low, high in (
        ("per", price.per, 1, 10**9),
        ("monthly_fee_micros", price.monthly_fee_micros, 0, AMOUNT_MAX_MICROS),
    ):
        if not low <= value <= high:
            raise InvalidRequest(f"{name} must be within {low}..{high}, got {value}", param=name)
    if price.monthly_fee_micros and price.tenant_id is None:
        raise InvalidRequest(
            "a monthly fee is agreed with one tenant: name it", param="monthly_fee_micros"
        )
    if not 0 < len(price.reference) <= 128 or not price.reference.isprintable():
        raise InvalidRequest("reference must be 1 to 128 printable characters", param="reference")
    if price.note is not None and len(price.note) > 256:
        raise InvalidRequest("note must be at most 256 characters", param="note")
    _check_tiers(price.tiers)
    return start


def _check_tiers(tiers: Sequence[Tier]) -> None:
    if not 1 <= len(tiers) <= TIERS_MAX:
        raise InvalidRequest(f"a price has 1 to {TIERS_MAX} tiers, got {len(tiers)}", param="tiers")
    below = 0
    for tier in tiers[:-1]:
        if tier.up_to is None or not below < tier.up_to <= UNITS_MAX:
            raise InvalidRequest(
                "up_to must grow from tier to tier; only the last one has none", param="tiers"
            )
        below = tier.up_to
    if tiers[-1].up_to is not None:
        raise InvalidRequest(
            "the last tier has no up_to: it prices all further units", param="tiers"
        )
    for tier in tiers:
        if not 0 <= tier.amount_micros <= AMOUNT_MAX_MICROS:
            raise InvalidRequest(
                f"amount_micros must be within 0..{AMOUNT_MAX_MICROS}, got {tier.amount_micros}",
                param="tiers",
            )


def check_same(known: PriceEntry, price: NewPrice) -> PriceEntry:
    """An entry set before under this reference; ``Conflict`` if it says something else."""
    fields = ("model", "tenant_id", "unit", "per", "tiers", "monthly_fee_micros", "effective_until")
    for name in fields:
        if getattr(known, name) != getattr(price, name):
            raise Conflict(
                f"reference {price.reference!r} was already used for another price "
                f"({name} differs); use a new reference for a new price",
                code="reference_reused",
                param="reference",
            )
    return known
