"""PDFs made beside the gateway: each in a process of its own, a few at once."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys

from xingyue.errors import Internal, Overloaded
from xingyue.statements.forms import Form, canonical
from xingyue.statements.words import Language

log = logging.getLogger(__name__)

_TIMEOUT_S = 120.0


class PdfPress:
    """Used on one event loop. ``at_once`` are made at a time, ``waiting_max`` more may wait."""

    def __init__(self, *, at_once: int = 1, waiting_max: int = 16) -> None:
        self._turn = asyncio.Semaphore(at_once)
        self._waiting_max = waiting_max
        self._waiting = 0

    async def print(self, form: Form, language: Language) -> bytes:
        """``Overloaded`` where too many wait; ``Internal`` if it can't be made."""
        if self._waiting >= self._waiting_max:
            raise Overloaded("too many PDFs are being made; try again", retry_after_s=5.0)
        self._waiting += 1
        try:
            async with self._turn:
                return await asyncio.to_thread(_run, canonical(form), language)
        finally:
            self._waiting -= 1


def _run(form: bytes, language: Language) -> bytes:
    command = [sys.executable, "-m", "xingyue.statements.pdf", language.value]
    try:
        done = subprocess.run(
            command, input=form, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise Internal(f"the PDF was not made within {_TIMEOUT_S:g} s") from error
    if done.returncode != 0:
        log.error("a PDF failed: %s", done.stderr.decode(errors="replace")[-2000:])
        raise Internal("the PDF could not be made; the JSON and CSV forms still can")
    return done.stdout
