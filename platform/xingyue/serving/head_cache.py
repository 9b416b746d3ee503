"""Heads in memory, bounded in bytes; the least recently used go first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future

from xingyue.contract import Head, HeadRef


class HeadCache:
    """Loads a head once, however many threads ask for it at the same time.

    A head larger than the whole cache is served but not kept. Thread-safe.
    """

    def __init__(self, load: Callable[[HeadRef], Head], bytes_max: int) -> None:
        self._load = load
        self._bytes_max = bytes_max
        self._heads: OrderedDict[str, Head] = OrderedDict()
        self._loading: dict[str, Future[Head]] = {}
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        return self._bytes

    def get(self, ref: HeadRef) -> Head:
        """The head of ``ref.digest``; raises what loading raised, to every waiter."""
        with self._lock:
            head = self._heads.get(ref.digest)
            if head is not None:
                self._heads.move_to_end(ref.digest)
                return head
            pending = self._loading.get(ref.digest)
            mine = pending is None
            if pending is None:
                pending = self._loading[ref.digest] = Future()
        if mine:
            self._fill(ref, pending)
        return pending.result()

    def _fill(self, ref: HeadRef, pending: Future[Head]) -> None:
        try:
            head = self._load(ref)
        except BaseException as error:
            with self._lock:
                del self._loading[ref.digest]
            pending.set_exception(error)
            return
        with self._lock:
            del self._loading[ref.digest]
            self._keep(ref.digest, head)
        pending.set_result(head)

    def _keep(self, digest: str, head: Head) -> None:
        size = head.nbytes()
        if size > self._bytes_max:
            return
        self._heads[digest] = head
        self._bytes += size
        while self._bytes > self._bytes_max:
            _, evicted = self._heads.popitem(last=False)
            self._bytes -= evicted.nbytes()
