"""Puts the parts of this package together: the one call that the composition root makes."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from xingyue.clock import Clock
from xingyue.maintenance import every
from xingyue.variants.directory import VariantDirectory
from xingyue.variants.recorder import Recorder
from xingyue.variants.signing import Signer
from xingyue.variants.store import VariantStore
from xingyue.variants.tallies import Tallies

log = logging.getLogger(__name__)

REFRESH_S = 1.0


@dataclass(frozen=True, slots=True)
class Variants:
    """Of one gateway process."""

    store: VariantStore
    tallies: Tallies
    directory: VariantDirectory
    recorder: Recorder

    async def maintain(self) -> None:
        """What other gateways changed is seen; what was counted here is folded and judged."""
        try:
            await self.directory.refresh()
            await self.recorder.flush()
        except SQLAlchemyError as error:
            log.warning("variants: upkeep failed, trying again: %s", error)

    @asynccontextmanager
    async def running(self, period_s: float = REFRESH_S) -> AsyncIterator[None]:
        """Upkeep while the block lasts; what was counted is folded at its end."""
        await self.directory.refresh()
        async with every(period_s, self.maintain):
            yield
        try:
            await self.recorder.flush(everything=True)
        except SQLAlchemyError:
            # Statistics only: not worth failing a shutdown without the database.
            return


def assemble(engine: Engine, keys: Path, *, clock: Clock) -> Variants:
    """``keys``: the folder of the platform's signing key. The schema must exist before use."""
    store = VariantStore(engine, signer=Signer.open(keys), clock=clock)
    tallies = Tallies(engine, clock=clock)
    directory = VariantDirectory(store, clock=clock)
    recorder = Recorder(tallies, clock=clock, on_rollback=directory.forget)
    return Variants(store, tallies, directory, recorder)
