"""Prices by the month's use: tiers, included units, a monthly fee. Amounts in micros of CNY."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xingyue.units import Price, Unit


@dataclass(frozen=True, slots=True)
class Tier:
    """Units of a month up to ``up_to`` (counted from the month's first; None: all further ones)
    cost ``amount_micros`` for every ``per`` of the entry. Included units are a tier that costs
    nothing."""

    up_to: int | None
    amount_micros: int


@dataclass(frozen=True, slots=True)
class NewPrice:
    """``tenant_id`` None: for everyone. Setting it twice under one ``reference`` sets it once."""

    reference: str
    model: str
    unit: Unit
    per: int
    tiers: tuple[Tier, ...]
    tenant_id: str | None = None
    monthly_fee_micros: int = 0
    """Falls due with the month's first call."""
    effective_from: datetime | None = None
    """None: now. Never in the past: a bill is not changed afterwards."""
    effective_until: datetime | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One line of the price book."""

    id: str
    reference: str
    model: str
    tenant_id: str | None
    unit: Unit
    per: int
    tiers: tuple[Tier, ...]
    monthly_fee_micros: int
    effective_from: datetime
    effective_until: datetime | None
    note: str | None
    created_at: datetime

    @property
    def flat(self) -> Price | None:
        """The one price of every unit, if there is no fee and nothing to count."""
        if len(self.tiers) == 1 and not self.monthly_fee_micros:
            return Price(self.unit, self.tiers[0].amount_micros, self.per)
        return None
