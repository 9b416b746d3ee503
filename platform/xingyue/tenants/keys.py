"""Secrets of API keys: made, hashed, recognised.

A secret holds 256 random bits, so it can't be guessed and a plain SHA-256 of it can't be reversed
by trying. The slow hashes made for passwords (bcrypt, argon2) would buy nothing here and cost
every call tens of milliseconds.
"""

from __future__ import annotations

import hashlib
import re
import secrets

from xingyue.errors import InvalidRequest

PREFIX = "xy-"
SHOWN_CHARS = 10

_SECRET = re.compile(r"xy-[A-Za-z0-9_-]{20,128}")


def new_secret() -> str:
    """``xy-`` and 43 characters: 256 bits from the system's random source."""
    return PREFIX + secrets.token_urlsafe(32)


def hash_secret(secret: str) -> str:
    """SHA-256, 64 hex digits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def shown_prefix(secret: str) -> str:
    return secret[:SHOWN_CHARS]


def looks_like_secret(text: str) -> bool:
    """Cheap test before anything is looked up."""
    return _SECRET.fullmatch(text) is not None


def check_given_secret(secret: str) -> None:
    """A secret made elsewhere (an admin key from the environment). InvalidRequest if it could be
    guessed or could not be sent."""
    if not looks_like_secret(secret):
        raise InvalidRequest(
            "a key must be 'xy-' and 20 to 128 of A-Z, a-z, 0-9, '_' and '-'; make one with "
            "python -c \"import secrets; print('xy-' + secrets.token_urlsafe(32))\"",
            param="secret",
        )
