"""The load generator of streamed answers: a thread a connection, server-sent events.

Run as ``python -m xingyue_benchmarks.streams``: a ``generator.Plan`` as JSON on standard input,
``StreamShots`` as JSON on standard output. It imports the standard library alone. Answers take
seconds and come word by word, so that a thread a connection, for some tens of them, costs nothing
that shows.

A text is an event whose first choice has a ``delta.content`` that is not empty (OpenAI's shape):
the event that only names the role is none. An answer counts as one when ``[DONE]`` came and no
error.
"""

from __future__ import annotations

import http.client
import json
import resource
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, pairwise
from pathlib import Path
from typing import Any

from xingyue_benchmarks.generator import BROKEN, Plan

_PREFIX = b"data: "


@dataclass(slots=True)
class StreamShots:
    """As ``generator.Shots``, with times of texts. ``numbers``, ``latencies_ms``, ``first_ms`` are
    those of whole answers; ``gaps_ms`` are between the texts of each, all together."""

    sent: int = 0
    seconds: float = 0.0
    statuses: dict[int, int] = field(default_factory=dict)
    numbers: list[int] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    gaps_ms: list[float] = field(default_factory=list)
    refused_ms: list[float] = field(default_factory=list)
    lag_ms_max: float = 0.0
    cpu_s: float = 0.0
    unanswered: int = 0


class BrokenStreamError(Exception):
    """A stream that told of an error, or ended without ``[DONE]``."""


def text_times(lines: Iterable[bytes], clock: Iterator[float]) -> list[float]:
    """When each text came, by ``clock``. ``BrokenStreamError`` if the answer is not whole."""
    times: list[float] = []
    for line in lines:
        if not line.startswith(_PREFIX):
            continue
        now_s, data = next(clock), line.removeprefix(_PREFIX).strip()
        if data == b"[DONE]":
            return times
        event = json.loads(data)
        if "error" in event:
            raise BrokenStreamError(str(event["error"]))
        choices = event.get("choices") or [{}]
        if (choices[0].get("delta") or {}).get("content"):
            times.append(now_s)
    raise BrokenStreamError("it ended before [DONE]")


class Streams:
    def __init__(self, plan: Plan) -> None:
        if plan.rate_rps is not None:
            raise ValueError("streamed answers are measured in a closed loop")
        self._plan = plan
        self._bodies = [Path(name).read_bytes() for name in plan.bodies]
        self._numbers = count()
        self._lock = threading.Lock()
        self._shots = StreamShots()

    def run(self) -> StreamShots:
        used = resource.getrusage(resource.RUSAGE_SELF)
        start_s = self._last_s = time.perf_counter()
        threads = [
            threading.Thread(target=self._connection, args=(start_s + self._plan.seconds,))
            for _ in range(self._plan.connections)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        after = resource.getrusage(resource.RUSAGE_SELF)
        self._shots.seconds = self._last_s - start_s
        self._shots.cpu_s = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
        return self._shots

    def _connection(self, until_s: float) -> None:
        """Each request is sent when the last has its whole answer, at least one a connection."""
        while True:
            number = next(self._numbers)
            if number >= self._plan.requests_max:
                return
            self._one(number)
            if time.perf_counter() >= until_s:
                return

    def _one(self, number: int) -> None:
        plan = self._plan
        timeout_s = plan.seconds + plan.drain_s
        connection = http.client.HTTPConnection(plan.host, plan.port, timeout=timeout_s)
        body = self._bodies[number % len(self._bodies)]
        headers = {**plan.headers, "x-request-id": f"{plan.prefix}{number}"}
        status, times = BROKEN, []
        since_s = time.perf_counter()
        try:
            connection.request("POST", plan.path, body, headers)
            answer = connection.getresponse()
            if 200 <= answer.status < 300:
                times = text_times(answer, iter(time.perf_counter, None))
            else:
                answer.read()
            status = answer.status
        except (OSError, http.client.HTTPException, ValueError, BrokenStreamError) as error:
            print(f"{plan.prefix}{number}: {error}", file=sys.stderr)
        finally:
            connection.close()
        self._note(number, status, since_s, times)

    def _note(self, number: int, status: int, since_s: float, times: list[float]) -> None:
        with self._lock:
            shots, self._last_s = self._shots, time.perf_counter()
            latency_ms = (self._last_s - since_s) * 1e3
            shots.sent += 1
            shots.statuses[status] = shots.statuses.get(status, 0) + 1
            if not 200 <= status < 300:
                shots.refused_ms.append(round(latency_ms, 4))
                return
            shots.numbers.append(number)
            shots.latencies_ms.append(round(latency_ms, 4))
            if times:
                shots.first_ms.append(round((times[0] - since_s) * 1e3, 4))
            shots.gaps_ms += [round((after - before) * 1e3, 4) for before, after in pairwise(times)]


def main() -> None:
    given: dict[str, Any] = json.loads(sys.stdin.read())
    given["bodies"] = tuple(given["bodies"])
    json.dump(asdict(Streams(Plan(**given)).run()), sys.stdout)


if __name__ == "__main__":
    main()
