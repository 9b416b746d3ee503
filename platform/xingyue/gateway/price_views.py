"""What a caller pays for a model now, as the catalogue shows it beside the list price."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from xingyue.gateway.terms import agreed, default_id
from xingyue.pricing.terms import TenantTerms
from xingyue.serving.served import ServedModel


def effective_price(
    terms: TenantTerms, tenant_id: str, model: ServedModel, now: datetime
) -> dict[str, Any]:
    """By the very decision that a call is billed by. ``source``: ``tenant`` or ``everyone`` of the
    price book, ``vendor`` or ``catalog``; ``amount_micros`` is null where the month's use decides
    (``tiers``). Vouchers and limits are not in it: they change who pays, or whether."""
    entry = agreed(terms, tenant_id, model, now)
    if entry is None:
        price = model.price
        return {
            "price_id": default_id(model),
            "source": "catalog" if model.vendor_id is None else "vendor",
            "unit": price.unit.value,
            "per": price.per,
            "amount_micros": price.amount_micros,
            "tiers": [{"up_to": None, "amount_micros": price.amount_micros}],
            "monthly_fee_micros": 0,
            "effective_until": None,
            "currency": "CNY",
        }
    one = entry.tiers[0].amount_micros if len(entry.tiers) == 1 else None
    return {
        "price_id": entry.id,
        "source": "everyone" if entry.tenant_id is None else "tenant",
        "unit": entry.unit.value,
        "per": entry.per,
        "amount_micros": one,
        "tiers": [
            {"up_to": tier.up_to, "amount_micros": tier.amount_micros} for tier in entry.tiers
        ],
        "monthly_fee_micros": entry.monthly_fee_micros,
        "effective_until": entry.effective_until and entry.effective_until.isoformat(),
        "currency": "CNY",
    }
