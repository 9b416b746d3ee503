"""Which trunks are not serving yet, asked of Serve at most once a second."""

from __future__ import annotations

import asyncio
import time

from ray import serve

from xingyue.catalog.spec import Catalog
from xingyue.serving.remote import app_name

_TTL_S = 1.0


class ServeReadiness:
    def __init__(self, catalog: Catalog) -> None:
        self._trunks = {
            entry.id: entry.trunk
            for entry in catalog.models
            # One in the gateway's process was loaded before the gateway answered.
            if entry.trunk is not None and catalog.trunks[entry.trunk].runs_in == "replica"
        }
        self._known: tuple[float, list[str]] | None = None

    async def missing(self) -> list[str]:
        """Ids of models whose trunk is not running."""
        now_s = time.monotonic()
        if self._known is None or now_s - self._known[0] > _TTL_S:
            self._known = (now_s, await asyncio.to_thread(self._ask))
        return self._known[1]

    def _ask(self) -> list[str]:
        applications = serve.status().applications
        running = {name for name, status in applications.items() if status.status == "RUNNING"}
        return [model for model, trunk in self._trunks.items() if app_name(trunk) not in running]
