"""Secrets of API keys."""

from __future__ import annotations

import pytest

from xingyue.errors import InvalidRequest
from xingyue.tenants.keys import (
    check_given_secret,
    hash_secret,
    looks_like_secret,
    new_secret,
    shown_prefix,
)


def test_a_new_secret_is_long_unique_and_recognised():
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(looks_like_secret(secret) and len(secret) == 46 for secret in secrets)


def test_the_hash_and_the_prefix_do_not_give_the_secret_away():
    secret = new_secret()
    assert len(hash_secret(secret)) == 64
    assert secret not in hash_secret(secret)
    assert shown_prefix(secret) == secret[:10]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "xy-",
        "xy-short",
        "sk-" + "a" * 40,
        "xy-" + "a" * 200,
        "xy-" + "é" * 30,
        "xy-" + "a b" * 9,
    ],
    ids=["empty", "bare", "short", "other-prefix", "long", "not-ascii", "spaces"],
)
def test_what_is_no_secret_is_told_apart_and_refused_on_import(text):
    assert not looks_like_secret(text)
    with pytest.raises(InvalidRequest) as caught:
        check_given_secret(text)
    assert caught.value.param == "secret"
