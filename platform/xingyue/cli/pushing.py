"""Many files at once, each by the caller's own way of sending one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait

from xingyue.errors import Cancelled
from xingyue_client.data_plan import LocalFile

_WORKERS = 4

Send = Callable[[LocalFile, Callable[[int], None]], None]
"""Sends one file and tells how many bytes are done, in steps."""


def run(files: Iterable[LocalFile], send: Send, sent: Callable[[int], None]) -> None:
    """Send all, four at a time; ``sent`` gets bytes as they are done.

    The first error (or Ctrl-C) stops the others at their next step, and is raised.
    """
    stopping = threading.Event()

    def step(size_bytes: int) -> None:
        if stopping.is_set():
            raise Cancelled("another file failed")
        sent(size_bytes)

    with ThreadPoolExecutor(_WORKERS) as pool:
        futures = [pool.submit(send, file, step) for file in files]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:
            stopping.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
