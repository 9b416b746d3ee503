"""The chart of accounts, by name.

    tenant:<id>:cash       never negative   what a tenant may spend
    tenant:<id>:held       never negative   set aside: leases of gateways and holds of streams
    voucher:<id>:balance   never negative   what a compute voucher may still pay
    voucher:<id>:held      never negative   set aside for calls in progress
    platform:revenue       never negative   what the operator has earned
    vendor:<id>:revenue    never negative   a model vendor's share
    provider:<id>:reward   never negative   a data provider's reward
    funding:<source>       never positive   where money comes from: payment, voucher, promotion

A balance is credits minus debits, so the balances of all accounts add up to zero, always.
"""

from __future__ import annotations

import re
from enum import StrEnum

from xingyue.errors import InvalidRequest

PLATFORM_REVENUE = "platform:revenue"

_PARTY = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")


class FundingSource(StrEnum):
    """Why a tenant's cash grew."""

    PAYMENT = "payment"
    VOUCHER = "voucher"
    """A compute voucher (算力券) of the city."""
    PROMOTION = "promotion"


def cash(tenant_id: str) -> str:
    return f"tenant:{_party(tenant_id, 'tenant_id')}:cash"


def held(tenant_id: str) -> str:
    return f"tenant:{_party(tenant_id, 'tenant_id')}:held"


def voucher_balance(voucher_id: str) -> str:
    return f"voucher:{_party(voucher_id, 'voucher_id')}:balance"


def voucher_held(voucher_id: str) -> str:
    return f"voucher:{_party(voucher_id, 'voucher_id')}:held"


def voucher_of(account: str) -> str | None:
    """The id of the voucher whose account it is, or None."""
    return account.split(":")[1] if account.startswith("voucher:") else None


def vendor_revenue(vendor_id: str) -> str:
    return f"vendor:{_party(vendor_id, 'vendor_id')}:revenue"


def provider_reward(provider_id: str) -> str:
    return f"provider:{_party(provider_id, 'provider_id')}:reward"


def funding(source: FundingSource) -> str:
    return f"funding:{FundingSource(source).value}"


def is_funding(account: str) -> bool:
    return account.startswith("funding:")


def is_share_account(account: str) -> bool:
    """Whether a part of a call's cost may be credited to it: a vendor's or a provider's."""
    parts = account.split(":")
    return (
        len(parts) == 3
        and (parts[0], parts[2]) in {("vendor", "revenue"), ("provider", "reward")}
        and _PARTY.fullmatch(parts[1]) is not None
    )


def _party(value: str, param: str) -> str:
    if not _PARTY.fullmatch(value):
        raise InvalidRequest(
            f"{param} {value!r} cannot name an account; use 1 to 63 of a-z, 0-9, '.', '_' and '-', "
            "starting with a letter or digit",
            param=param,
        )
    return value
