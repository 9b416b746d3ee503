"""Pure decisions about variants: names, routing, rollout, visibility, price, retirement.

id         <tenant>.<suffix>
reference  id | id@<version number> | id@<alias> | id@latest | id@stable | id@canary
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from xingyue.catalog.spec import Visibility
from xingyue.errors import Conflict, InvalidRequest, NotFound
from xingyue.variants.models import Guard, Route, Snapshot, Variant, VariantPrice

SUFFIX_MAX_CHARS = 46
"""With a tenant's id of 48 it still is a model id (``catalog.spec``)."""
PRICE_MAX_MICROS = 1_000_000_000
PER_MAX = 1_000_000
HISTORY_MAX = 20
RESERVED = frozenset({"latest", "stable", "canary"})

_SUFFIX = re.compile(rf"[a-z0-9](?:[a-z0-9-]{{0,{SUFFIX_MAX_CHARS - 2}}}[a-z0-9])?")
_ALIAS = re.compile(r"[a-z][a-z0-9-]{0,31}")
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_VARIANT_ID = re.compile(r"[a-z0-9-]{1,48}\.[a-z0-9-]{1,47}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A model's name as a caller writes it, taken apart. ``selector`` "" names no version."""

    variant_id: str
    selector: str = ""


def parse(model: str) -> Reference | None:
    """None for what can't be a variant's name: nothing is looked up then."""
    variant_id, at, selector = model.partition("@")
    if not _VARIANT_ID.fullmatch(variant_id) or (at and not selector):
        return None
    if selector and not _NUMBER.fullmatch(selector) and not _ALIAS.fullmatch(selector):
        return None
    return Reference(variant_id, selector)


def check_suffix(suffix: str) -> None:
    if not _SUFFIX.fullmatch(suffix):
        raise InvalidRequest(
            f"suffix {suffix!r} must be 1 to {SUFFIX_MAX_CHARS} of a-z, 0-9 and '-', and start "
            "and end with a letter or digit",
            param="suffix",
        )


def check_alias(name: str) -> None:
    if not _ALIAS.fullmatch(name) or name in RESERVED:
        raise InvalidRequest(
            f"alias {name!r} must be 1 to 32 of a-z, 0-9 and '-', start with a letter, and be none "
            f"of {', '.join(sorted(RESERVED))}",
            param="name",
        )


def check_price(price: VariantPrice) -> None:
    for name, value, low, high in (
        ("price.amount_micros", price.amount_micros, 0, PRICE_MAX_MICROS),
        ("price.per", price.per, 1, PER_MAX),
    ):
        if type(value) is not int or not low <= value <= high:
            raise InvalidRequest(
                f"{name} must be a whole number from {low} to {high}, got {value!r}", param=name
            )


def check_guard(guard: Guard) -> None:
    if not 10 <= guard.calls_min <= 100_000:
        raise InvalidRequest("guard.calls_min must be 10 to 100000", param="guard.calls_min")
    for name in ("error_points", "fail_points"):
        if not 0 < getattr(guard, name) <= 100:
            raise InvalidRequest(f"guard.{name} must be in (0, 100]", param=f"guard.{name}")
    if not 0 < guard.score_distance_max <= 1:
        raise InvalidRequest(
            "guard.score_distance_max must be in (0, 1]", param="guard.score_distance_max"
        )


def sticky_point(variant_id: str, caller_key: str) -> float:
    """Where a caller stands in [0, 100), the same each time and at every gateway."""
    digest = hashlib.sha256(f"{variant_id}\0{caller_key}".encode()).digest()
    # 53 bits: as many as a float holds, so 100 itself can't come out.
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53 * 100


def pick(route: Route, point: float) -> str | None:
    """The version that answers a caller at ``point``; None where none serves yet."""
    if route.canary is not None and point < route.percent:
        return route.canary
    return route.stable


def may_see(variant: Variant, tenant_id: str) -> bool:
    return variant.tenant_id == tenant_id or variant.visibility is Visibility.LISTED


def select(snapshot: Snapshot, selector: str, tenant_id: str) -> str | None:
    """The version that an explicit selector means to this tenant; None where there is none.

    Versions that never served are the owner's alone.
    """
    variant, owner = snapshot.variant, snapshot.variant.tenant_id == tenant_id
    usable = {
        number for number, version in snapshot.versions.items() if owner or version.released_at
    }
    known = usable | set(snapshot.refused)
    wanted: str | None
    match selector:
        case "latest":
            wanted = max(usable, key=int, default=None)
        case "stable":
            wanted = variant.route.stable
        case "canary":
            wanted = variant.route.canary if owner else None
        case _:
            wanted = snapshot.aliases.get(selector, selector)
    return wanted if wanted in known else None


def check_not_retired(variant: Variant, now: datetime) -> None:
    """``NotFound`` (``model_retired``) from the shutdown date on."""
    if variant.shutdown_at is None or now < variant.shutdown_at:
        return
    instead = f"; call {variant.successor!r} instead" if variant.successor else ""
    raise NotFound(
        f"{variant.id} was retired on {variant.shutdown_at:%Y-%m-%d}{instead}",
        code="model_retired",
        param="model",
    )


def plan_rollout(route: Route, version: str, percent: int, guard: Guard | None) -> Route:
    """The route after ``version`` was given ``percent`` of the callers: 100 makes it stable, 0
    takes its canary away. ``Conflict`` if it is stable already and should be a part only."""
    if type(percent) is not int or not 0 <= percent <= 100:
        raise InvalidRequest("percent must be a whole number from 0 to 100", param="percent")
    guard = guard or route.guard
    if percent == 100:
        return replace(_promote(route, version), guard=guard)
    if percent == 0:
        return _without_canary(route) if version == route.canary else route
    if version == route.stable:
        raise Conflict(
            f"version {version} is the stable one and answers all callers but the canary's; "
            "roll another version out, or use rollback",
            code="already_stable",
            param="version",
        )
    if route.stable is None:
        raise Conflict("no version serves yet; roll out with percent 100 first", param="percent")
    fresh = version != route.canary
    return replace(
        route,
        canary=version,
        percent=percent,
        epoch=route.epoch + 1 if fresh else route.epoch,
        guard=guard,
    )


def plan_rollback(route: Route, version: str | None) -> Route:
    """A running canary ends; without one, the stable version before becomes stable again. With
    ``version``, that one becomes stable (it must have been), and again changes nothing."""
    if version is not None:
        if version == route.stable:
            return _without_canary(route)
        if version not in route.history:
            raise Conflict(
                f"version {version} never was the stable one; use rollout",
                code="never_stable",
                param="version",
            )
        past = route.history[: route.history.index(version)]
        return replace(_without_canary(route), stable=version, history=past)
    if route.canary is not None:
        return _without_canary(route)
    if not route.history:
        raise Conflict(
            "no stable version came before this one, so there is nothing to roll back to",
            code="nothing_to_roll_back",
        )
    return replace(route, stable=route.history[-1], history=route.history[:-1])


def _promote(route: Route, version: str) -> Route:
    past = route.history
    if route.stable is not None and route.stable != version:
        # A version stands in the history once: a rollback never leads round in a circle.
        kept = [old for old in past if old not in (version, route.stable)]
        past = (*kept, route.stable)[-HISTORY_MAX:]
    return replace(_without_canary(route), stable=version, history=past)


def _without_canary(route: Route) -> Route:
    return replace(route, canary=None, percent=0)


def check_deletable(variant: Variant) -> None:
    if variant.listed_at is not None:
        raise Conflict(
            f"{variant.id} was listed on {variant.listed_at:%Y-%m-%d}: others may depend on it, so "
            "it can be retired with a date, not deleted",
            code="was_listed",
        )


def parse_shutdown(text: str) -> datetime:
    """``2027-03-31`` (from its first instant, UTC) or a time with a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except (ValueError, TypeError) as error:
        raise InvalidRequest(
            "shutdown_date must be a date or time of ISO 8601, such as 2027-03-31",
            param="shutdown_date",
        ) from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
