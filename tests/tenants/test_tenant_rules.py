"""Scopes, model limits, revocation, suspension: pure checks."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from xingyue.errors import Forbidden, InvalidRequest, Unauthenticated
from xingyue.tenants import rules
from xingyue.tenants.tenant import ApiKey, Principal, Scope, Tenant, TenantStatus

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TENANT = Tenant("acme", "Acme", NOW)
KEY = ApiKey("key_1", "acme", "line 3", "xy-abc", frozenset({Scope.CALL}), None, NOW)


def test_a_live_key_passes():
    rules.check_alive(Principal(TENANT, KEY))


def test_a_revoked_key_is_unauthenticated_even_where_the_tenant_is_suspended():
    suspended = replace(TENANT, status=TenantStatus.SUSPENDED)
    with pytest.raises(Unauthenticated, match="revoked"):
        rules.check_alive(Principal(suspended, replace(KEY, revoked_at=NOW)))


def test_a_suspended_tenant_is_forbidden():
    with pytest.raises(Forbidden) as caught:
        rules.check_alive(Principal(replace(TENANT, status=TenantStatus.SUSPENDED), KEY))
    assert caught.value.code == "tenant_suspended"


@pytest.mark.parametrize("scope", list(Scope))
def test_no_scope_implies_another(scope):
    for held in Scope:
        principal = Principal(TENANT, replace(KEY, scopes=frozenset({held})))
        if held is scope:
            rules.require_scope(principal, scope)
        else:
            with pytest.raises(Forbidden, match=f"{scope.value}.*{held.value}"):
                rules.require_scope(principal, scope)


@pytest.mark.parametrize(
    ("models", "allowed"),
    [(None, True), ({"a"}, True), ({"b"}, False), (set(), False)],
    ids=["all", "named", "other", "none"],
)
def test_a_key_may_be_limited_to_models(models, allowed):
    limited = replace(KEY, models=None if models is None else frozenset(models))
    if allowed:
        rules.require_model(Principal(TENANT, limited), "a")
        return
    with pytest.raises(Forbidden) as caught:
        rules.require_model(Principal(TENANT, limited), "a")
    assert (caught.value.code, caught.value.param) == ("model_not_allowed", "model")


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"id": "Acme"}, "id"),
        ({"id": "-acme"}, "id"),
        ({"id": "a.b"}, "id"),
        ({"id": "a" * 49}, "id"),
        ({"name": " "}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"rate_limit_requests": 0}, "rate_limit_requests"),
        ({"concurrency_max": True}, "concurrency_max"),
    ],
    ids=str,
)
def test_a_malformed_tenant_is_refused_by_field(change, param):
    with pytest.raises(InvalidRequest) as caught:
        rules.check_tenant(replace(TENANT, **change))
    assert caught.value.param == param
