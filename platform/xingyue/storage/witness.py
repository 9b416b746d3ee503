"""Something that must be written with whatever is written: a hook of write transactions.

Whoever handles a request may name a witness for it. The first write transaction of that request
calls it last thing before the commit, so what it writes is on disk exactly if the rest is.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from sqlalchemy import Connection

Witness = Callable[[Connection], None]

CURRENT: ContextVar[Witness | None] = ContextVar("xingyue_witness", default=None)
"""Of this request; threads that are started for it see it too."""

_FACTS: ContextVar[dict[str, Any] | None] = ContextVar("xingyue_facts", default=None)


def collect() -> dict[str, Any]:
    """From now on ``note`` adds to the answer's dict, in this request and its threads."""
    facts: dict[str, Any] = {}
    _FACTS.set(facts)
    return facts


def note(**facts: Any) -> None:
    """Tell the witness what the request did not say, such as the id that was given. Without one
    it is lost."""
    noted = _FACTS.get()
    if noted is not None:
        noted.update(facts)


def decline() -> None:
    """What is about to be committed is not what was asked for, which was refused."""
    CURRENT.set(None)


def testify(connection: Connection) -> None:
    """Called by a write transaction before it commits."""
    witness = CURRENT.get()
    if witness is not None:
        witness(connection)
