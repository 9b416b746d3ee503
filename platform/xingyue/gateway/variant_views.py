"""Variants as JSON: for their owner in full, for everybody else as models of the catalogue."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from xingyue.catalog.spec import EntrySpec, Licences
from xingyue.resolution import price_for
from xingyue.variants.canary import Tally, judge
from xingyue.variants.models import Snapshot, Variant, VariantEvent, VariantVersion
from xingyue.variants.tallies import Arm, baseline


def summary(snapshot: Snapshot) -> dict[str, Any]:
    """A row of ``GET /v1/variants``."""
    variant = snapshot.variant
    return {
        "id": variant.id,
        "object": "variant",
        "base_model": variant.base_model,
        "visibility": variant.visibility.value,
        "price": _price(variant),
        "route": _route(variant),
        "aliases": dict(snapshot.aliases),
        "versions_count": len(snapshot.versions) + len(snapshot.refused),
        "created_at": variant.created_at.isoformat(),
        "listed_at": variant.listed_at and variant.listed_at.isoformat(),
        "shutdown_date": variant.shutdown_at and variant.shutdown_at.isoformat(),
        "successor": variant.successor,
    }


def owners_view(
    snapshot: Snapshot, tallies: Mapping[Arm, Tally], events: list[VariantEvent]
) -> dict[str, Any]:
    """``GET /v1/variants/{id}``, without its calls and earnings."""
    variant = snapshot.variant
    versions = sorted(snapshot.versions.values(), key=lambda each: int(each.version))
    return {
        **summary(snapshot),
        "guard": asdict(variant.route.guard),
        "versions": [_version(variant, each) for each in versions],
        "refused": [
            {"version": version, "reason": reason} for version, reason in snapshot.refused.items()
        ],
        "canary": _canary(variant, tallies),
        "events": [
            {
                "at": event.at.isoformat(),
                "actor": event.actor,
                "action": event.action,
                "detail": dict(event.detail),
            }
            for event in events
        ],
    }


def catalogue_view(
    snapshot: Snapshot, entry: EntrySpec, licences: Licences, tenant_id: str
) -> dict[str, Any] | None:
    """As ``GET /v1/catalog`` shows it; None while no version serves."""
    variant = snapshot.variant
    serving = snapshot.versions.get(variant.route.stable or "")
    if serving is None:
        return None
    price, _ = price_for(entry, variant, tenant_id)
    fields = {"industry", "task", "template", "card"}
    shaped: dict[str, Any] = {
        "id": variant.id,
        "version": serving.version,
        **entry.model_dump(mode="json", include=fields),
        "price": price.model_dump(mode="json") | {"currency": "CNY"},
        "licences": licences.model_dump(mode="json"),
        "parts": {},
        "base_model": variant.base_model,
        "lineage": list(serving.lineage),
        "owned_by": variant.tenant_id,
        "visibility": variant.visibility.value,
        "shutdown_date": variant.shutdown_at and variant.shutdown_at.isoformat(),
    }
    # What the base was trained and judged on says nothing of this head.
    facts = serving.facts
    shaped["card"] |= {
        "title": f"{entry.card.title}: {variant.suffix}",
        "title_zh": f"{entry.card.title_zh}：{variant.suffix}",
        "summary": f"{facts.method} on the trunk of {entry.card.title}, fitted by its vendor.",
        "limits": "As its vendor states them; measured on the held-out part of its own data.",
        "trained_on": f"Data of {variant.tenant_id}, {facts.dataset_digest} ({facts.method}).",
        "evaluated_on": "The held-out groups of the same data.",
        "metrics": dict(facts.metrics),
    }
    return shaped


def model_view(variant: Variant) -> dict[str, Any]:
    """As OpenAI's ``GET /v1/models`` shows it."""
    return {
        "id": variant.id,
        "object": "model",
        "created": int(variant.created_at.timestamp()),
        "owned_by": variant.tenant_id,
        "parent": variant.base_model,
        "shutdown_date": variant.shutdown_at and variant.shutdown_at.isoformat(),
    }


def _price(variant: Variant) -> dict[str, Any] | None:
    return None if variant.price is None else asdict(variant.price) | {"currency": "CNY"}


def _route(variant: Variant) -> dict[str, Any]:
    route = variant.route
    return {
        "stable": route.stable,
        "canary": route.canary,
        "percent": route.percent,
        "history": list(route.history),
    }


def _version(variant: Variant, version: VariantVersion) -> dict[str, Any]:
    facts = version.facts
    state = "ready"
    if version.version == variant.route.stable:
        state = "stable"
    elif version.version == variant.route.canary:
        state = "canary"
    return {
        "version": version.version,
        "id": version.id,
        "state": state,
        "lineage": list(version.lineage),
        "created_at": version.created_at.isoformat(),
        "released_at": version.released_at and version.released_at.isoformat(),
        "recipe": facts.recipe,
        "method": facts.method,
        "job_id": facts.job_id,
        "dataset_digest": facts.dataset_digest,
        "hyperparameters": dict(facts.hyperparameters),
        "seed": facts.seed,
        "metrics": dict(facts.metrics),
        "parity": facts.parity,
        "parity_max": facts.parity_max,
        "head_digest": facts.head_digest,
        "report": f"/v1/variants/{variant.id}/versions/{version.version}/report",
    }


def _canary(variant: Variant, tallies: Mapping[Arm, Tally]) -> dict[str, Any] | None:
    """Numbers of the running canary, as they were last folded."""
    route = variant.route
    if route.canary is None:
        return None
    ours = tallies.get(Arm(variant.id, route.canary, route.epoch), Tally())
    stable = baseline(variant.id, route, tallies)
    broken = judge(stable, ours, route.guard)
    return {
        "version": route.canary,
        "percent": route.percent,
        "calls_needed": max(0, route.guard.calls_min - ours.calls),
        "canary": asdict(ours),
        "stable": asdict(stable),
        "verdict": "holds" if broken is None else broken.reason,
    }
