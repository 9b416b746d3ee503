"""Which adapters an engine has at hand: a bounded set, the least recently used goes first.

llama.cpp's server reads adapters when it starts and picks one per call, so a new adapter means a
new engine. It is started beside the one that answers, on the same memory-mapped weights (shared, so
it costs its context and a second or two), and takes over; the former is closed when its last call
has ended. At most two live at a time, and only while one takes over from the other.

The trunk's own engine is another one and never part of this: calls without an adapter keep their
cached prompts, and neither wait for a tenant's adapter nor share a prompt's state with one.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.errors import Overloaded
from xingyue_models.language_model.adapter import Adapter
from xingyue_models.language_model.llama import LlamaServer

_WAIT_MAX_S = 5.0
"""For the engine before the last to end; starting one takes a second or two."""
Start = Callable[[Sequence[Path]], LlamaServer]


@dataclass(frozen=True, slots=True)
class Voice:
    """An engine, and what a call's body needs so that it answers with one adapter and no other."""

    llama: LlamaServer
    choice: dict[str, Any]


@dataclass(slots=True)
class _Generation:
    llama: LlamaServer
    digests: tuple[str, ...]
    users: int = 0


class AdapterPool:
    """Safe to use from several threads."""

    def __init__(self, start: Start, adapters_max: int) -> None:
        """``start``: adapter files -> an engine that has them, in that order."""
        self._start = start
        self._adapters_max = adapters_max
        self._changed = threading.Condition()
        self._recent: dict[str, Adapter] = {}
        """Those wanted, the most recently used last."""
        self._current: _Generation | None = None
        self._retired: _Generation | None = None
        self._starting = False
        self._closed = False

    @contextmanager
    def voice(self, adapter: Adapter) -> Iterator[Voice]:
        """Held while the adapter is used. Waits while an engine that has it is started."""
        generation = self._enter(adapter)
        try:
            index = generation.digests.index(adapter.digest)
            # Always told: without it llama.cpp would go on with the prompt of the slot's last
            # adapter. Adapters that are not listed count as 0.
            yield Voice(generation.llama, {"lora": [{"id": index, "scale": 1.0}]})
        finally:
            self._leave(generation)

    def close(self) -> None:
        """Ends calls under way. Idempotent."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._starting)
            generations = [g for g in (self._current, self._retired) if g is not None]
            self._current = self._retired = None
            self._changed.notify_all()
        for generation in generations:
            generation.llama.close()

    def _enter(self, adapter: Adapter) -> _Generation:
        """``Overloaded`` where the engine before the last still has calls after a while."""
        until_s = time.monotonic() + _WAIT_MAX_S
        with self._changed:
            while True:
                if self._closed:
                    raise RuntimeError("the language model is closed")
                # Anew in each round: while this call waited, others may have pushed it out.
                self._recent.pop(adapter.digest, None)
                self._recent[adapter.digest] = adapter
                current = self._current
                if current is not None and adapter.digest in current.digests:
                    current.users += 1
                    return current
                if not self._starting and self._retired is None:
                    break
                left_s = until_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    # Not for ever: a stream still read from the retired engine may need this
                    # very thread for its next word.
                    raise Overloaded(
                        "another adapter is taking over while calls still run on the one before; "
                        "retry shortly",
                        retry_after_s=_WAIT_MAX_S,
                    )
            self._starting = True
            # Whoever came meanwhile is taken along: several new adapters cost one start.
            wanted = tuple(self._recent)[-self._adapters_max :]
            self._recent = {digest: self._recent[digest] for digest in wanted}
            adapters = tuple(self._recent.values())
        return self._replace(adapters)

    def _replace(self, adapters: Sequence[Adapter]) -> _Generation:
        try:
            llama = self._load(adapters)
        except BaseException:
            with self._changed:
                self._starting = False
                # One of them can't be loaded: the next call of another must not fail with it.
                for adapter in adapters:
                    if self._current is None or adapter.digest not in self._current.digests:
                        self._recent.pop(adapter.digest, None)
                self._changed.notify_all()
            raise
        generation = _Generation(llama, tuple(a.digest for a in adapters), users=1)
        with self._changed:
            former, self._current = self._current, generation
            idle = former is not None and former.users == 0
            self._retired = None if idle else former
            self._starting = False
            self._changed.notify_all()
        if former is not None and idle:
            former.llama.close()
        return generation

    def _leave(self, generation: _Generation) -> None:
        with self._changed:
            generation.users -= 1
            done = generation is self._retired and generation.users == 0
        if done:
            generation.llama.close()
            with self._changed:
                self._retired = None
                self._changed.notify_all()

    def _load(self, adapters: Sequence[Adapter]) -> LlamaServer:
        # The engine reads them whole while it starts; the files are not needed after that.
        with tempfile.TemporaryDirectory(prefix="xingyue-adapters-") as folder:
            paths = [Path(folder) / f"{adapter.digest}.gguf" for adapter in adapters]
            for path, adapter in zip(paths, adapters, strict=True):
                path.write_bytes(adapter.gguf)
            return self._start(paths)
