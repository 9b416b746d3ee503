"""The load generator: one process, one thread, one epoll, bytes that were made beforehand.

Run as ``python -m xingyue_benchmarks.generator``: a ``Plan`` as JSON on standard input, a ``Shots``
as JSON on standard output. It imports the standard library alone and spends some 30 microseconds of
CPU per request, so that on a small machine the load is not the load generator's.

Closed loop: each connection sends its next request when its last was answered, until the time is
up; then what is out is waited for, so that every request has an end. Open loop: request ``i`` is
due at ``i / rate_rps`` whatever became of those before it; its latency counts from the moment it
was due, in the queue of this generator too, so a stalled server can't make the load wait for it
(no coordinated omission).

Every request carries an ``x-request-id`` of its own: ``<prefix><number>``, found again in the
ledger's events.
"""

from __future__ import annotations

import gc
import json
import resource
import select
import socket
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_BUFFER_BYTES = 1 << 20
_READ_BYTES = 1 << 16
_HEAD_END = b"\r\n\r\n"
BROKEN = 0
"""Counted as the status of a request whose connection ended before its answer."""


@dataclass(frozen=True, slots=True)
class Plan:
    """``bodies`` are files, sent in turn. ``rate_rps`` None is a closed loop."""

    host: str
    port: int
    path: str
    headers: dict[str, str]
    bodies: tuple[str, ...]
    prefix: str
    seconds: float
    connections: int
    """Closed: always busy. Open: at most so many; a request that finds none free waits here."""
    rate_rps: float | None = None
    drain_s: float = 40.0
    requests_max: int = 2_000_000
    targets: tuple[tuple[str, dict[str, str]], ...] = ()
    """Paths with headers of their own, called in turn; none: ``path`` alone."""


@dataclass(slots=True)
class Shots:
    """What came of a plan. ``numbers`` and ``latencies_ms`` are those of 2xx answers, as answered;
    ``seconds`` is from the first request to the last answer."""

    sent: int = 0
    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    """Latencies of the other answers."""
    lag_ms_max: float = 0.0
    """Open loop: the latest that a request was sent while a connection was free."""
    cpu_s: float = 0.0
    unanswered: int = 0
    """Still out when the wait for the last answers ended."""


class _Connection:
    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self.number = -1
        self.since_s = 0.0
        self._out = b""
        self._in = bytearray()
        self._need = 0
        self._status = 0
        self.closing = False
        self.open()

    def open(self) -> None:
        self.sock = socket.create_connection(self._address, timeout=5)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        self.sock.setblocking(False)

    def begin(self, number: int, since_s: float, data: bytes) -> bool:
        """True once all is sent."""
        self.number, self.since_s, self._out = number, since_s, data
        self._in.clear()
        self._need = 0
        return self.flush()

    def flush(self) -> bool:
        try:
            sent = self.sock.send(self._out)
        except BlockingIOError:
            return False
        except OSError:
            # What the other side said before it hung up, if anything, is still to be read.
            self._out = b""
            return True
        self._out = self._out[sent:]
        return not self._out

    def read(self) -> int | None:
        """The status once the answer is whole, None until then. ``ConnectionError`` at its end."""
        try:
            data = self.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            raise ConnectionError("closed by the other side")
        self._in += data
        if not self._need:
            self._parse_head()
        return self._status if self._need and len(self._in) >= self._need else None

    def _parse_head(self) -> None:
        end = self._in.find(_HEAD_END)
        if end < 0:
            return
        head = bytes(self._in[:end]).lower()
        self._status = int(head[9:12])
        at = head.find(b"\r\ncontent-length:")
        if at < 0:
            raise ConnectionError("an answer without content-length")
        stop = head.find(b"\r\n", at + 2)
        length = int(head[at + 17 : stop if stop > 0 else len(head)])
        self._need = end + len(_HEAD_END) + length
        self.closing = b"\r\nconnection: close" in head


class Generator:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._bodies = [Path(name).read_bytes() for name in plan.bodies]
        self._heads = [
            [_head(plan, path, headers, len(body)) for body in self._bodies]
            for path, headers in plan.targets or ((plan.path, {}),)
        ]
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._busy = 0
        self._free: list[_Connection] = []
        self._shots = Shots()
        self._last_s = 0.0

    def run(self) -> Shots:
        gc.disable()
        used = _cpu_s()
        start_s = time.perf_counter()
        self._last_s = start_s
        try:
            if self._plan.rate_rps is None:
                self._closed(start_s)
            else:
                self._open_loop(start_s, self._plan.rate_rps)
            self._drain()
        finally:
            for connection in self._by_fd.values():
                connection.sock.close()
            self._epoll.close()
        self._shots.seconds = self._last_s - start_s
        self._shots.unanswered = self._busy
        self._shots.cpu_s = _cpu_s() - used
        return self._shots

    def _closed(self, start_s: float) -> None:
        until_s = start_s + self._plan.seconds
        for _ in range(self._plan.connections):
            self._send(self._connect(), time.perf_counter())
        while (now_s := time.perf_counter()) < until_s:
            self._turn(until_s - now_s)
            while self._free and self._shots.sent < self._plan.requests_max:
                self._send(self._free.pop(), time.perf_counter())
            if self._shots.sent >= self._plan.requests_max:
                return

    def _open_loop(self, start_s: float, rate_rps: float) -> None:
        total = min(round(self._plan.seconds * rate_rps), self._plan.requests_max)
        due: deque[float] = deque()
        planned = 0
        while planned < total or due:
            now_s = time.perf_counter()
            while planned < total and start_s + planned / rate_rps <= now_s:
                due.append(start_s + planned / rate_rps)
                planned += 1
            while due and (self._free or len(self._by_fd) < self._plan.connections):
                waited_ms = (time.perf_counter() - due[0]) * 1e3
                if len(due) == 1:
                    self._shots.lag_ms_max = max(self._shots.lag_ms_max, waited_ms)
                self._send(self._free.pop() if self._free else self._connect(), due.popleft())
            if planned >= total and time.perf_counter() > start_s + self._plan.seconds + 60:
                return
            following_s = start_s + planned / rate_rps if planned < total else now_s + 0.05
            self._turn(max(0.0, min(following_s - time.perf_counter(), 0.05)), exact=True)

    def _drain(self) -> None:
        until_s = time.perf_counter() + self._plan.drain_s
        while self._busy and time.perf_counter() < until_s:
            self._turn(0.1)

    def _connect(self) -> _Connection:
        connection = _Connection((self._plan.host, self._plan.port))
        self._register(connection)
        return connection

    def _register(self, connection: _Connection) -> None:
        self._by_fd[connection.sock.fileno()] = connection
        self._epoll.register(connection.sock, select.EPOLLIN)

    def _send(self, connection: _Connection, since_s: float) -> None:
        number = self._shots.sent
        kind = number % len(self._bodies)
        head = self._heads[number % len(self._heads)][kind] + b"%d\r\n\r\n" % number
        self._shots.sent += 1
        self._busy += 1
        if not connection.begin(number, since_s, head + self._bodies[kind]):
            self._epoll.modify(connection.sock, select.EPOLLIN | select.EPOLLOUT)

    def _turn(self, timeout_s: float, *, exact: bool = False) -> None:
        """Handle what is ready. ``exact``: epoll rounds to milliseconds, select does not."""
        if exact and not select.select([self._epoll], [], [], timeout_s)[0]:
            return
        for fd, event in self._epoll.poll(0 if exact else timeout_s):
            connection = self._by_fd[fd]
            if event & select.EPOLLOUT and connection.flush():
                self._epoll.modify(connection.sock, select.EPOLLIN)
            if event & ~select.EPOLLOUT:
                self._read(connection)

    def _read(self, connection: _Connection) -> None:
        waiting = connection.number >= 0
        try:
            status = connection.read()
        except OSError:
            if waiting:
                self._note(connection, BROKEN)
            self._again(connection)
            return
        if status is not None:
            self._note(connection, status)
            if connection.closing:
                self._again(connection)
            else:
                self._free.append(connection)

    def _note(self, connection: _Connection, status: int) -> None:
        self._last_s = time.perf_counter()
        shots, latency_ms = self._shots, (self._last_s - connection.since_s) * 1e3
        shots.statuses[status] = shots.statuses.get(status, 0) + 1
        if 200 <= status < 300:
            shots.numbers.append(connection.number)
            shots.latencies_ms.append(round(latency_ms, 4))
        else:
            shots.refused_ms.append(round(latency_ms, 4))
        connection.number = -1
        self._busy -= 1

    def _again(self, connection: _Connection) -> None:
        """A new socket in the place of one that ended."""
        del self._by_fd[connection.sock.fileno()]
        self._epoll.unregister(connection.sock)
        connection.sock.close()
        if connection in self._free:
            self._free.remove(connection)
        connection.closing = False
        connection.open()
        self._register(connection)
        self._free.append(connection)


def _head(plan: Plan, path: str, headers: dict[str, str], body_bytes: int) -> bytes:
    """All of a request's head up to the number in its id."""
    lines = {"host": f"{plan.host}:{plan.port}", **plan.headers, **headers}
    fixed = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return (
        f"POST {path} HTTP/1.1\r\n{fixed}content-length: {body_bytes}\r\n"
        f"x-request-id: {plan.prefix}"
    ).encode()


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.read())
    given["bodies"] = tuple(given["bodies"])
    given["targets"] = tuple((path, headers) for path, headers in given.get("targets", ()))
    shots = Generator(Plan(**given)).run()
    json.dump(asdict(shots), sys.stdout)


if __name__ == "__main__":
    main()
