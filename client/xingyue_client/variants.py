"""What a vendor does with its variants. Every change is idempotent where asking twice can mean the
same, so it is tried again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xingyue_client.answer import Call, listing, nothing, result
from xingyue_client.endpoint import Endpoint, Group, S
from xingyue_client.records import Variant
from xingyue_client.request import Safety, changing, given, reading

_VARIANTS = "/v1/variants"


def list_variants() -> Call[tuple[Variant, ...]]:
    return Call(reading(_VARIANTS), listing(Variant))


def retrieve(variant_id: str) -> Call[Variant]:
    """Versions with lineage and metrics, route, canary, calls, earnings, events."""
    return Call(reading(f"{_VARIANTS}/{variant_id}"), result(Variant))


def publish(
    variant_id: str,
    *,
    price_micros: int | None = None,
    per: int = 1,
    private: bool = False,
    version: str | None = None,
) -> Call[Variant]:
    """List it at ``price_micros`` for ``per`` units, or make it private again."""
    body: dict[str, Any] = {"visibility": "private" if private else "listed"}
    if price_micros is not None:
        body["price"] = {"amount_micros": price_micros, "per": per}
    return _change(variant_id, "publish", body | given(version=version))


def rollout(
    variant_id: str,
    version: str | None = None,
    *,
    percent: int = 100,
    guard: Mapping[str, Any] | None = None,
) -> Call[Variant]:
    """Give a version (default: the latest) a share of the callers; 100 makes it the stable one.
    ``guard``: limits of the automatic rollback."""
    body = {"version": version, "percent": percent}
    return _change(variant_id, "rollout", body | given(guard=guard))


def rollback(variant_id: str, version: str | None = None) -> Call[Variant]:
    """End a running canary; without one, go back to the stable version before. Asked twice it goes
    back twice unless ``version`` is given, so that without one it is not tried again."""
    safety = Safety.ONCE if version is None else Safety.IDEMPOTENT
    return _change(variant_id, "rollback", {"version": version}, safety)


def alias(variant_id: str, name: str, version: str | None) -> Call[Variant]:
    """Callers may then ask for ``<id>@<name>``. None removes it."""
    return _change(variant_id, "alias", {"name": name, "version": version})


def retire(
    variant_id: str, shutdown_date: str | None, *, successor: str | None = None
) -> Call[Variant]:
    """Refuse calls from a date on; None takes it back."""
    return _change(variant_id, "retire", {"shutdown_date": shutdown_date, "successor": successor})


def delete(variant_id: str) -> Call[None]:
    """Only what was never listed."""
    return Call(changing(f"{_VARIANTS}/{variant_id}", method="DELETE"), nothing)


def _change(
    variant_id: str, action: str, body: Mapping[str, Any], safety: Safety = Safety.IDEMPOTENT
) -> Call[Variant]:
    return Call(
        changing(f"{_VARIANTS}/{variant_id}/{action}", body, safety=safety), result(Variant)
    )


class Variants(Group[S]):
    list = Endpoint(list_variants)
    retrieve = Endpoint(retrieve)
    publish = Endpoint(publish)
    rollout = Endpoint(rollout)
    rollback = Endpoint(rollback)
    alias = Endpoint(alias)
    retire = Endpoint(retire)
    delete = Endpoint(delete)
