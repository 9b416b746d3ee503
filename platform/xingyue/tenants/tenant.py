"""Tenants, their API keys, and who is calling."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from xingyue.tenants.limits import NONE, Limits


class TenantStatus(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Known, but every call is refused."""


class Scope(StrEnum):
    """What a key may do. No scope implies another."""

    CALL = "call"
    """Call models, read the tenant's own account."""
    TUNE = "tune"
    PUBLISH = "publish"
    ADMIN = "admin"
    """Everything under ``/admin/v1``, for all tenants."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """``id`` is a slug and the prefix of the tenant's variants (``<tenant>.<suffix>``)."""

    id: str
    name: str
    created_at: datetime
    status: TenantStatus = TenantStatus.ACTIVE
    rate_limit_requests: int = 6000
    """Requests per minute."""
    concurrency_max: int = 64
    """Calls in progress at once."""
    allow_noncommercial: bool = False
    """May call models whose licence forbids commercial use (research, evaluation)."""
    group: str | None = None
    """The group of companies that it is part of: vendor and buyer of one are affiliated."""
    limits: Limits = NONE
    """Of spend, and per model, beside the two above."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key without its secret, which is shown once and stored only as a hash."""

    id: str
    tenant_id: str
    name: str
    prefix: str
    """The first characters of the secret, to tell keys apart in a list."""
    scopes: frozenset[Scope]
    models: frozenset[str] | None
    """Model ids it may call; None for all."""
    created_at: datetime
    revoked_at: datetime | None = None
    limits: Limits = NONE


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is calling: proven by the key."""

    tenant: Tenant
    key: ApiKey
