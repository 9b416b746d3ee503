"""Key to principal, from memory: the first step of every call.

What was found is kept for ``ttl_s``, so a revoked key or a suspended tenant is refused everywhere
after at most that. Unknown keys are remembered too, in a table of its own bounded size, so that
guessing neither reaches the database each time nor pushes real keys out.
"""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from xingyue.clock import Clock
from xingyue.errors import Overloaded, Unauthenticated
from xingyue.tenants import rules
from xingyue.tenants.keys import hash_secret, looks_like_secret
from xingyue.tenants.store import TenantStore
from xingyue.tenants.tenant import Principal

T = TypeVar("T")


class TenantDirectory:
    """One per gateway, used on one event loop; the database is read in a thread."""

    def __init__(
        self,
        store: TenantStore,
        *,
        clock: Clock,
        ttl_s: float = 5.0,
        keys_max: int = 10_000,
        unknown_max: int = 10_000,
    ) -> None:
        self._store = store
        self._found: _Cache[Principal] = _Cache(clock, ttl_s, keys_max)
        self._unknown: _Cache[bool] = _Cache(clock, ttl_s, unknown_max)
        self._clock = clock
        self._pending: dict[str, asyncio.Task[Principal | None]] = {}

    async def authenticate(self, secret: str | None) -> Principal:
        """Who holds the secret (without ``Bearer``). ``Unauthenticated`` for none, an unknown or a
        revoked one; ``Forbidden`` for a suspended tenant; ``Overloaded`` if the database is away
        and the key is not in memory."""
        if not secret:
            raise Unauthenticated(
                "an API key is required: send it as 'Authorization: Bearer xy-...'"
            )
        if not looks_like_secret(secret):
            raise _unknown_key()
        secret_hash = hash_secret(secret)
        principal = self._found.get(secret_hash)
        if principal is None:
            if self._unknown.get(secret_hash):
                raise _unknown_key()
            principal = await self._look_up(secret_hash)
            if principal is None:
                raise _unknown_key()
        rules.check_alive(principal)
        return principal

    def forget(self) -> None:
        """Drop all that is remembered: here, a change takes effect at once."""
        self._found.clear()
        self._unknown.clear()
        # Look-ups under way may have read the old state.
        self._pending = {}

    async def _look_up(self, secret_hash: str) -> Principal | None:
        # Concurrent calls with one key share one look-up.
        task = self._pending.get(secret_hash)
        if task is None:
            task = asyncio.create_task(self._read(secret_hash, self._pending))
            self._pending[secret_hash] = task
        return await asyncio.shield(task)

    async def _read(
        self, secret_hash: str, pending: dict[str, asyncio.Task[Principal | None]]
    ) -> Principal | None:
        asked_at_s = self._clock.monotonic_s()
        try:
            principal = await asyncio.to_thread(self._store.find_key, secret_hash)
        except SQLAlchemyError as error:
            raise Overloaded(
                "the key can't be checked right now; try again shortly",
                code="directory_unavailable",
            ) from error
        finally:
            pending.pop(secret_hash, None)
        if pending is not self._pending:
            return principal
        if principal is None:
            self._unknown.put(secret_hash, True, asked_at_s)
        else:
            self._found.put(secret_hash, principal, asked_at_s)
        return principal


class _Cache(Generic[T]):
    """Bounded; an entry lives ``ttl_s``. The oldest goes first."""

    def __init__(self, clock: Clock, ttl_s: float, entries_max: int) -> None:
        self._clock = clock
        self._ttl_s = ttl_s
        self._entries_max = entries_max
        self._entries: dict[str, tuple[float, T]] = {}

    def get(self, name: str) -> T | None:
        entry = self._entries.get(name)
        if entry is None or self._clock.monotonic_s() >= entry[0]:
            return None
        return entry[1]

    def put(self, name: str, value: T, known_at_s: float) -> None:
        self._entries.pop(name, None)
        if len(self._entries) >= self._entries_max:
            self._entries.pop(next(iter(self._entries)))
        self._entries[name] = (known_at_s + self._ttl_s, value)

    def clear(self) -> None:
        self._entries.clear()


def _unknown_key() -> Unauthenticated:
    return Unauthenticated("this API key is not known; check it for missing characters")
