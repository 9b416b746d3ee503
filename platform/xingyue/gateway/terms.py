"""How a call is to be paid: from a lease of cash at one price, or weighed by the ledger itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from xingyue.ledger.demand import Bucket, Cap, Demand, Fee, Measure, Rate
from xingyue.pricing.models import PriceEntry
from xingyue.pricing.rules import capacities, select_entry
from xingyue.pricing.terms import TenantTerms
from xingyue.serving.served import ServedModel
from xingyue.tenants.limits import NONE, Limits
from xingyue.tenants.tenant import Principal
from xingyue.units import Price, format_cny
from xingyue.vouchers.models import Purchase
from xingyue.vouchers.rules import concerns


@dataclass(frozen=True, slots=True)
class Offer:
    """``demand`` None: every unit costs ``rate``, and cash pays."""

    rate: Rate
    demand: Demand | None


def offer(
    terms: TenantTerms, principal: Principal, model: ServedModel, units_max: int, now: datetime
) -> Offer:
    """No look-up here: a call of a tenant without vouchers, plans and limits costs a few
    comparisons."""
    if not terms.prices and not terms.vouchers and not _limited(principal):
        return Offer(Rate(default_id(model), model.price.price().cost_micros), None)
    entry = agreed(terms, principal.tenant.id, model, now)
    price = model.price.price() if entry is None else entry.flat
    price_id = default_id(model) if entry is None else entry.id
    caps = tuple(_caps(principal, model.id, now))
    purchase = Purchase(
        tenant_id=principal.tenant.id,
        model=model.id,
        base_model=model.entry.id,
        industry=model.entry.industry,
        vendor_id=model.vendor_id,
    )
    vouchers = any(
        voucher.conditions.valid_from <= now < voucher.conditions.valid_until
        and concerns(voucher.conditions, purchase)
        for voucher in terms.vouchers
    )
    if price is not None and not caps and not vouchers:
        return Offer(Rate(price_id, price.cost_micros), None)
    return Offer(
        Rate(price_id, (price or model.price.price()).cost_micros),
        Demand(
            purchase=purchase,
            price_id=price_id,
            per=entry.per if entry is not None else model.price.per,
            units_max=units_max,
            buckets=_buckets(entry, price, principal.tenant.id, now),
            caps=caps,
            fee=_fee(entry, principal.tenant.id, now),
            vouchers=vouchers,
        ),
    )


def agreed(
    terms: TenantTerms, tenant_id: str, model: ServedModel, now: datetime
) -> PriceEntry | None:
    """The price book's; for a tenant's own variant that is in no book, its base's. None: the
    model's own price holds."""
    entry = select_entry(terms.prices, model.id, tenant_id, now)
    if entry is None and model.vendor_id is None and model.id != model.entry.id:
        entry = select_entry(terms.prices, model.entry.id, tenant_id, now)
    if entry is not None and entry.unit is not model.price.unit:
        # Agreed for a unit that the model no longer counts.
        return None
    return entry


def default_id(model: ServedModel) -> str:
    """Of a price that is in no book: it says itself what it is."""
    source = "catalog" if model.vendor_id is None else "vendor"
    return f"{source}:{model.price.amount_micros}/{model.price.per}"


def _buckets(
    entry: PriceEntry | None, price: Price | None, tenant_id: str, now: datetime
) -> tuple[Bucket, ...]:
    if entry is None or price is not None:
        assert price is not None
        return (Bucket("", None, price.amount_micros),)
    return tuple(
        Bucket(f"tier:{entry.id}:{tenant_id}:{now:%Y-%m}:{i}", capacity, tier.amount_micros)
        for i, (tier, capacity) in enumerate(zip(entry.tiers, capacities(entry.tiers), strict=True))
    )


def _fee(entry: PriceEntry | None, tenant_id: str, now: datetime) -> Fee | None:
    if entry is None or not entry.monthly_fee_micros:
        return None
    return Fee(f"plan:{entry.id}:{tenant_id}:{now:%Y-%m}", entry.monthly_fee_micros)


def _limited(principal: Principal) -> bool:
    # By identity first: it is asked for every call.
    return any(
        limits is not NONE and bool(limits)
        for limits in (principal.tenant.limits, principal.key.limits)
    )


def _caps(principal: Principal, model: str, now: datetime) -> Iterator[Cap]:
    tenant, key = principal.tenant, principal.key
    if not _limited(principal):
        return
    for kind, name, key_id, limits in (
        ("tenant", tenant.id, None, tenant.limits),
        ("key", key.id, key.id, key.limits),
    ):
        for scope, each in ((None, limits), (model, limits.of_model(model))):
            for measure, period, maximum in _counted(each):
                start, end = _period(period, now)
                what = format_cny(maximum) if measure is Measure.SPEND else f"{maximum} units"
                yield Cap(
                    counter=f"{measure}:{kind}:{name}:{scope or '*'}:{period}:{start:%Y-%m-%d}",
                    measure=measure,
                    maximum=maximum,
                    words=f"{kind} {name} may use {what}{f' of {scope}' if scope else ''} "
                    f"a {period}",
                    starts_at=start,
                    ends_at=end,
                    tenant_id=tenant.id,
                    key_id=key_id,
                    model=scope,
                )


def _counted(limits: Limits) -> Iterator[tuple[Measure, str, int]]:
    for measure, period, maximum in (
        (Measure.SPEND, "day", limits.spend_micros_per_day),
        (Measure.SPEND, "month", limits.spend_micros_per_month),
        (Measure.UNITS, "day", limits.units_per_day),
        (Measure.UNITS, "month", limits.units_per_month),
    ):
        if maximum is not None:
            yield measure, period, maximum


def _period(period: str, now: datetime) -> tuple[datetime, datetime]:
    """Of a day or a month in UTC that ``now`` lies in."""
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return day, day + timedelta(days=1)
    month = day.replace(day=1)
    return month, (month + timedelta(days=32)).replace(day=1)
