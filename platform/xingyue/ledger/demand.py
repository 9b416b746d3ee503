"""A call that the ledger must weigh itself: by vouchers, a month's units or a spending limit.

A call that cash alone pays at one price is admitted from a lease, with no database on the way. The
others are few, and what they need is shared by all gateways to the last unit: so it is set aside
by the ledger, in one durable hold. Nothing here knows the database.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from xingyue.pricing.rules import cost_micros, take_first
from xingyue.vouchers.models import Purchase
from xingyue.vouchers.rules import Slice, split


class Measure(StrEnum):
    SPEND = "spend"
    UNITS = "units"


@dataclass(frozen=True, slots=True)
class Cap:
    """A limit on what a tenant or a key uses in a day or a month (UTC).

    Calls and streams count. A counter begins with what the period's events say already.
    """

    counter: str
    measure: Measure
    maximum: int
    words: str
    """Whose limit, of what, per what: ``key key_1 may spend ¥10.00 a day``."""
    starts_at: datetime
    ends_at: datetime
    tenant_id: str
    key_id: str | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A tier of a month: ``capacity`` units (None: no end) at ``amount_micros`` per ``per``."""

    counter: str
    capacity: int | None
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Fee:
    """What a monthly plan costs, due once under its ``reference``."""

    reference: str
    amount_micros: int


@dataclass(frozen=True, slots=True)
class Demand:
    purchase: Purchase
    price_id: str
    per: int
    units_max: int
    buckets: tuple[Bucket, ...]
    """In the order in which they are used up; the last has no end."""
    caps: tuple[Cap, ...] = ()
    fee: Fee | None = None
    vouchers: bool = False
    """Whether the tenant has any that might pay."""

    @property
    def tenant_id(self) -> str:
        return self.purchase.tenant_id


@dataclass(frozen=True, slots=True)
class HeldUnits:
    """Units set aside in a bucket; ``counter`` None where nothing is counted."""

    counter: str | None
    units: int
    amount_micros: int


@dataclass(frozen=True, slots=True)
class HeldCap:
    counter: str
    measure: Measure
    amount: int


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """What a hold has set aside, and thereby what its call will cost. It is stored with it."""

    per: int = 1
    cash_micros: int = 0
    slices: tuple[Slice, ...] = ()
    """Of vouchers, first expiring first."""
    units: tuple[HeldUnits, ...] = ()
    caps: tuple[HeldCap, ...] = ()
    fee: Fee | None = None
    """Of a plan, unpaid when the hold was made: due with the first call that is answered."""

    @property
    def cash_set_aside_micros(self) -> int:
        return self.cash_micros + (self.fee.amount_micros if self.fee else 0)

    def cost_micros(self, units: int) -> int:
        """Of the first ``units`` of what was set aside."""
        parts = [(each.units, each.amount_micros) for each in self.units]
        return cost_micros(take_first(parts, units), self.per)

    @property
    def amount_max_micros(self) -> int:
        return self.cost_micros(sum(each.units for each in self.units))

    def payers(self, cost: int) -> tuple[list[tuple[str, int]], int]:
        """(voucher id, micros) that pay, and what is left for cash."""
        parts = split(cost, self.slices)
        paid = [(each.voucher_id, part) for each, part in zip(self.slices, parts, strict=True)]
        return paid, cost - sum(parts)

    def counted(self, units: int, cost: int) -> dict[str, int]:
        """Counter -> what a call of so many units and such a cost uses of it."""
        parts = take_first([(each.units, each.amount_micros) for each in self.units], units)
        used = {
            each.counter: use
            for each, (use, _) in zip(self.units, parts, strict=True)
            if each.counter is not None
        }
        for cap in self.caps:
            used[cap.counter] = cost if cap.measure is Measure.SPEND else units
        return used

    def set_aside(self) -> dict[str, int]:
        """Counter -> what the hold has taken of it."""
        taken = {each.counter: each.units for each in self.units if each.counter is not None}
        return taken | {cap.counter: cap.amount for cap in self.caps}

    def dump(self) -> str:
        return json.dumps(
            {
                "per": self.per,
                "cash": self.cash_micros,
                "vouchers": [
                    [s.voucher_id, s.available_micros, s.share_percent] for s in self.slices
                ],
                "units": [[u.counter, u.units, u.amount_micros] for u in self.units],
                "caps": [[c.counter, c.measure.value, c.amount] for c in self.caps],
                "fee": [self.fee.reference, self.fee.amount_micros] if self.fee else None,
            },
            separators=(",", ":"),
        )

    @classmethod
    def load(cls, text: str) -> HoldTerms:
        stored: dict[str, Any] = json.loads(text)
        return cls(
            per=stored["per"],
            cash_micros=stored["cash"],
            slices=tuple(Slice(*each) for each in stored["vouchers"]),
            units=tuple(HeldUnits(*each) for each in stored["units"]),
            caps=tuple(HeldCap(name, Measure(kind), n) for name, kind, n in stored["caps"]),
            fee=Fee(*stored["fee"]) if stored["fee"] else None,
        )


@dataclass(frozen=True, slots=True)
class Rate:
    """What this call's units cost, in micros, and the price's name in the books."""

    price_id: str
    cost_micros: Callable[[int], int]
