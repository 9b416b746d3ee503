"""A voucher's decisions, pure: whether it pays for a purchase, and how a bill is split."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from xingyue.errors import InvalidRequest
from xingyue.vouchers.models import Conditions, NewVoucher, Purchase, Voucher, VoucherState

_CODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,159}")
AMOUNT_MAX_MICROS = 10**15


@dataclass(frozen=True, slots=True)
class Slice:
    """What one voucher may bring to a bill."""

    voucher_id: str
    available_micros: int
    share_percent: int


def split(cost_micros: int, slices: Sequence[Slice]) -> list[int]:
    """What each voucher pays of a bill, in the order given; the rest is for cash.

    A voucher brings what vouchers pay together up to its share of the bill, rounded down, and
    never more than it has. The sum and the rest both grow with the cost: so what was set aside
    for the most that a call may cost covers every smaller cost.
    """
    paid = 0
    parts = []
    for each in slices:
        part = max(0, min(each.available_micros, cost_micros * each.share_percent // 100 - paid))
        paid += part
        parts.append(part)
    return parts


def first_expiring_first(vouchers: Iterable[Voucher]) -> list[Voucher]:
    """Equal ends by age, then by id, so that the order is always the same."""
    return sorted(vouchers, key=lambda v: (v.conditions.valid_until, v.created_at, v.id))


def covers(conditions: Conditions, purchase: Purchase, now: datetime, *, affiliated: bool) -> bool:
    """Whether the purchase meets every condition. ``affiliated``: vendor and holder are of one
    group, or one and the same."""
    if not conditions.valid_from <= now < conditions.valid_until:
        return False
    if affiliated and conditions.unaffiliated_only:
        return False
    return concerns(conditions, purchase)


def concerns(conditions: Conditions, purchase: Purchase) -> bool:
    """The part of ``covers`` that never changes: models and industries."""
    if conditions.models and not conditions.models & {purchase.model, purchase.base_model}:
        return False
    return not conditions.industries or purchase.industry in conditions.industries


def affiliated(purchase: Purchase, groups: Mapping[str, str | None]) -> bool:
    """``groups``: tenant -> its group of companies, None for none."""
    vendor = purchase.vendor_id
    if vendor is None:
        return False
    group = groups.get(purchase.tenant_id)
    return vendor == purchase.tenant_id or (group is not None and groups.get(vendor) == group)


def check_assign(voucher: Voucher, tenant_id: str) -> bool:
    """True if it is to be assigned, False if it is that tenant's already; InvalidRequest for
    another's, or one that has ended."""
    if voucher.state is VoucherState.ASSIGNED and voucher.tenant_id == tenant_id:
        return False
    if voucher.state is not VoucherState.ISSUED:
        whose = f" to {voucher.tenant_id}" if voucher.tenant_id else ""
        raise InvalidRequest(
            f"voucher {voucher.code} is {voucher.state.value}{whose} and can't be assigned; "
            "issue another one",
            param="tenant_id",
        )
    return True


def check_new(voucher: NewVoucher) -> None:
    """The shape of an issue. InvalidRequest names the field."""
    if not _CODE.fullmatch(voucher.code):
        raise InvalidRequest(
            f"code {voucher.code!r} must be 1 to 64 of letters, digits, '.', '_' and '-'",
            param="code",
        )
    amount = voucher.amount_micros
    if isinstance(amount, bool) or not 1 <= amount <= AMOUNT_MAX_MICROS:
        raise InvalidRequest(
            f"amount_micros must be within 1..{AMOUNT_MAX_MICROS}, got {amount}",
            param="amount_micros",
        )
    for name in ("contract", "batch"):
        text = getattr(voucher, name)
        if text is not None and (not 0 < len(text) <= 128 or not text.isprintable()):
            raise InvalidRequest(f"{name} must be 1 to 128 printable characters", param=name)
    _check_conditions(voucher.conditions)


def _check_conditions(conditions: Conditions) -> None:
    if conditions.valid_until <= conditions.valid_from:
        raise InvalidRequest("valid_until must be later than valid_from", param="valid_until")
    if not 1 <= conditions.share_percent <= 100:
        raise InvalidRequest(
            f"share_percent must be within 1..100, got {conditions.share_percent}",
            param="share_percent",
        )
    for param in ("models", "industries"):
        for name in getattr(conditions, param):
            if not _NAME.fullmatch(name):
                raise InvalidRequest(f"{name!r} can't be one of {param}", param=param)
