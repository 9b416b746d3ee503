"""Pooled connections that were idle are asked whether they still live before they are used again.

They may have died with the server's last restart. One just used is not asked: that would cost every
group commit a trip to the server.
"""

from __future__ import annotations

import math
import time
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry

_AFTER_S = 1.0
_USED_AT_S = "xingyue_used_at_s"


def ask_the_idle(engine: Engine) -> None:
    """From now on, of connections idle for a second or more. A dead one is replaced."""

    @event.listens_for(engine, "checkin")
    def _used(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_USED_AT_S] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _ask(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        idle_s = time.monotonic() - record.info.get(_USED_AT_S, math.inf)
        if idle_s > _AFTER_S and not _answers(engine, connection):
            raise DisconnectionError


def _answers(engine: Engine, connection: Any) -> bool:
    try:
        return engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error:
        return False
