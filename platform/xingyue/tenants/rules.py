"""Who may do what: pure checks. The caller's key was found; these say whether it suffices."""

from __future__ import annotations

import re

from xingyue.errors import Forbidden, InvalidRequest, Unauthenticated
from xingyue.tenants.tenant import Principal, Scope, Tenant, TenantStatus

_TENANT_ID = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,46}[a-z0-9])?")
_GROUP = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
NAME_MAX_CHARS = 128


def check_alive(principal: Principal) -> None:
    """``Unauthenticated`` for a revoked key, ``Forbidden`` for a suspended tenant."""
    if principal.key.revoked_at is not None:
        raise Unauthenticated("this API key was revoked; ask for a new one")
    if principal.tenant.status is not TenantStatus.ACTIVE:
        raise Forbidden(
            f"tenant {principal.tenant.id} is suspended; ask the operator", code="tenant_suspended"
        )


def require_scope(principal: Principal, scope: Scope) -> None:
    if scope not in principal.key.scopes:
        held = ", ".join(sorted(principal.key.scopes)) or "none"
        raise Forbidden(f"this needs a key with the scope {scope.value!r}; yours has: {held}")


def require_model(principal: Principal, model: str) -> None:
    """``Forbidden`` unless the key may call the model (an id without version). It is checked
    before the model is looked up, so it does not tell whether the model exists."""
    if principal.key.models is not None and model not in principal.key.models:
        raise Forbidden(
            f"this key may not call {model!r}; it is limited to: "
            f"{', '.join(sorted(principal.key.models)) or 'no model'}",
            code="model_not_allowed",
            param="model",
        )


def check_tenant(tenant: Tenant) -> None:
    """The shape of a tenant. InvalidRequest names the field."""
    if not _TENANT_ID.fullmatch(tenant.id):
        raise InvalidRequest(
            f"tenant id {tenant.id!r} must be 1 to 48 of a-z, 0-9 and '-', and start and end with "
            "a letter or digit",
            param="id",
        )
    check_name(tenant.name)
    if tenant.group is not None and not _GROUP.fullmatch(tenant.group):
        raise InvalidRequest(
            f"group {tenant.group!r} must be 1 to 64 of a-z, 0-9, '.', '_' and '-'", param="group"
        )
    for field in ("rate_limit_requests", "concurrency_max"):
        value = getattr(tenant, field)
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**9:
            raise InvalidRequest(
                f"{field} must be a whole number of at least 1, got {value!r}; to stop a tenant, "
                "suspend it",
                param=field,
            )


def check_name(name: str) -> None:
    if not 0 < len(name.strip()) <= NAME_MAX_CHARS or not name.isprintable():
        raise InvalidRequest(
            f"name must be 1 to {NAME_MAX_CHARS} printable characters, got {name!r}", param="name"
        )
