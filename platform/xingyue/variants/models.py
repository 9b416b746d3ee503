"""Variants, their versions and what routes calls among them. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xingyue.catalog.spec import Visibility


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a finished job hands over: the facts of a version, all of them signed."""

    tenant_id: str
    suffix: str
    base_model: str
    base_version: str
    parent: str | None
    """``<tenant>.<suffix>@<version>`` when it was started from a variant."""
    head_uri: str
    """``s3://<platform's bucket>/<prefix>``: the folder of ``manifest.json``."""
    head_digest: str
    """SHA-256 of ``manifest.json``, which pins the head's other files."""
    recipe: str
    method: str
    job_id: str
    dataset_digest: str
    hyperparameters: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, float]
    parity: float
    """Largest difference between trained and exported scores."""
    parity_max: float
    report_uri: str


@dataclass(frozen=True, slots=True)
class VariantVersion:
    """One fitted head. Immutable but for ``released_at``."""

    variant_id: str
    version: str
    facts: NewVersion
    lineage: tuple[str, ...]
    """From the base, ``<model>@<version>``, over its parents to itself."""
    created_at: datetime
    released_at: datetime | None = None
    """When it first served as the stable version or a canary: from then on, others who may call
    the variant may also call this version by its number."""

    @property
    def id(self) -> str:
        return f"{self.variant_id}@{self.version}"


@dataclass(frozen=True, slots=True)
class VariantPrice:
    """The vendor's price: ``amount_micros`` of CNY for every ``per`` units of the base's unit."""

    amount_micros: int
    per: int = 1


@dataclass(frozen=True, slots=True)
class Guard:
    """When a canary is rolled back by itself; see ``canary.judge``."""

    calls_min: int = 30
    error_points: float = 10.0
    """Percentage points of errors above the stable version's."""
    fail_points: float = 25.0
    """Percentage points of fail verdicts away from the stable version's."""
    score_distance_max: float = 0.35
    """Kolmogorov-Smirnov distance between the two distributions of scores, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Route:
    """Which version answers a call that names none."""

    stable: str | None = None
    canary: str | None = None
    percent: int = 0
    """Share of callers that the canary answers, by sticky hash."""
    epoch: int = 0
    """Counts canaries: tallies of one are never mixed with another's."""
    history: tuple[str, ...] = ()
    """Stable versions before this one, oldest first: where a rollback leads."""
    guard: Guard = field(default_factory=Guard)


@dataclass(frozen=True, slots=True)
class Variant:
    """``<tenant>.<suffix>``: what others call, whatever version answers."""

    id: str
    tenant_id: str
    suffix: str
    base_model: str
    visibility: Visibility
    price: VariantPrice | None
    """Needed before it is listed."""
    route: Route
    created_at: datetime
    listed_at: datetime | None = None
    """When it was first listed; from then on it can be retired, not deleted."""
    shutdown_at: datetime | None = None
    successor: str | None = None
    """The id that callers should move to, told once it is retired."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that resolving a call needs, read at one moment."""

    variant: Variant
    versions: Mapping[str, VariantVersion]
    """Whose signature holds."""
    aliases: Mapping[str, str]
    refused: Mapping[str, str] = field(default_factory=dict)
    """Version -> why its signature does not hold: never served."""


@dataclass(frozen=True, slots=True)
class VariantEvent:
    """Who changed what and when; ``actor`` is a key's id, or ``system``."""

    at: datetime
    actor: str
    action: str
    detail: Mapping[str, Any]
