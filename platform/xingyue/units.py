"""Integers with units: money in micros of CNY, usage in whole units of a model.

A price is stated per ``per`` units (say 2,000,000 micros per 1,000,000 tokens) so that no
fraction of a micro is ever stored. An amount rounds up to the next micro, once, per usage event:
the bill of a call is what its answer said, to the micro.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

MICROS_PER_CNY = 1_000_000


class Unit(StrEnum):
    """What a model counts."""

    IMAGE = "image"
    TOKEN = "token"
    PAGE = "page"
    SERIES_POINT = "series-point"
    COMPUTE_SECOND = "compute-second"


@dataclass(frozen=True, slots=True)
class Price:
    """``amount_micros`` (>= 0) of CNY for every ``per`` (>= 1) units."""

    unit: Unit
    amount_micros: int
    per: int = 1

    def __post_init__(self) -> None:
        if self.amount_micros < 0 or self.per < 1:
            raise ValueError("a price needs amount_micros >= 0 and per >= 1")

    def cost_micros(self, units: int) -> int:
        """Micros for ``units`` (>= 0), rounded up to a whole micro."""
        if units < 0:
            raise ValueError(f"usage units must be >= 0, got {units}")
        return -(-self.amount_micros * units // self.per)


def format_cny(amount_micros: int) -> str:
    """``1234500`` -> ``¥1.2345``: exact, at least two decimals, no float on the way."""
    sign = "-" if amount_micros < 0 else ""
    whole, fraction = divmod(abs(amount_micros), MICROS_PER_CNY)
    digits = f"{fraction:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}¥{whole}.{digits}"


def parse_cny(text: str) -> int:
    """``"12.34"`` -> 12_340_000 micros; ValueError on anything but a plain decimal."""
    from decimal import Decimal, InvalidOperation

    try:
        amount = Decimal(text.strip().lstrip("¥")) * MICROS_PER_CNY
    except InvalidOperation as error:
        raise ValueError(f"not an amount of CNY: {text!r}") from error
    if not amount.is_finite() or amount != amount.to_integral_value():
        raise ValueError(f"an amount of CNY has at most six decimals: {text!r}")
    return int(amount)
