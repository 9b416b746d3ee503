"""Compute vouchers (算力券): public money that pays a stated part of a manufacturer's calls."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class VoucherState(StrEnum):
    """``issued`` and ``assigned`` are alive; the others are final."""

    ISSUED = "issued"
    """Funded, and nobody's yet."""
    ASSIGNED = "assigned"
    EXPIRED = "expired"
    REVOKED = "revoked"


ALIVE = (VoucherState.ISSUED, VoucherState.ASSIGNED)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a voucher may pay for. An empty ``models`` and ``industries`` allow everything."""

    valid_from: datetime
    valid_until: datetime
    """Exclusive: from this instant on it pays nothing and what is left goes back."""
    models: frozenset[str] = frozenset()
    """Ids of models; one of the catalogue stands for the variants fitted on it too."""
    industries: frozenset[str] = frozenset()
    share_percent: int = 100
    """Vouchers may pay a bill up to this part of it: one brings what all vouchers together pay
    up to its own share, so two of 50 % pay half of a bill and not the whole of it."""
    unaffiliated_only: bool = True
    """It may not pay a vendor of the holder's own group."""


@dataclass(frozen=True, slots=True)
class NewVoucher:
    """An issue: idempotent by ``code``, the number printed on the voucher."""

    code: str
    amount_micros: int
    conditions: Conditions
    tenant_id: str | None = None
    contract: str | None = None
    """Number of the contract that it was granted for, as the evidence of its use asks for."""
    batch: str | None = None
    starts_now: bool = False
    """``valid_from`` is the moment of the issue and nothing agreed: sent again, it may differ."""


@dataclass(frozen=True, slots=True)
class Voucher:
    id: str
    code: str
    amount_micros: int
    conditions: Conditions
    tenant_id: str | None
    contract: str | None
    batch: str | None
    state: VoucherState
    created_at: datetime
    assigned_at: datetime | None
    ended_at: datetime | None
    balance_micros: int = 0
    """Free to spend."""
    held_micros: int = 0
    """Set aside for calls in progress."""

    @property
    def spent_micros(self) -> int:
        """While it is alive; at its end the rest has gone back and this is no more told."""
        return self.amount_micros - self.balance_micros - self.held_micros


@dataclass(frozen=True, slots=True)
class Purchase:
    """What a call would buy, as far as vouchers ask."""

    tenant_id: str
    model: str
    base_model: str
    """Of the catalogue: the model itself, or what the variant was fitted on."""
    industry: str
    vendor_id: str | None
    """The tenant that earns from it; None where all of it is the platform's."""
