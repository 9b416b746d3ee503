"""Server-sent events: what a line means, when a stream is whole, where it goes on. No I/O here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from xingyue_client.errors import ClientError, StreamBroken, stream_error
from xingyue_client.request import Request

T = TypeVar("T")
RESUMES_MAX = 60
"""So often in a row a stream is opened again without a line coming out of it."""
RESUME_S = 1.0
_DATA, _ID, _DONE = "data:", "id:", "[DONE]"


@dataclass(frozen=True, slots=True)
class Stream(Generic[T]):
    """``resumable``: opened again after the last event that came, where it breaks. Any other stream
    that breaks after its first byte is ``StreamBroken``: the platform bills what it has sent."""

    request: Request
    read: Callable[[Any], T]
    resumable: bool = False

    def reader(self) -> Reader[T]:
        return Reader(self)


class Reader(Generic[T]):
    """One reading of a stream, over as many connections as it takes."""

    def __init__(self, stream: Stream[T]) -> None:
        self._stream = stream
        self._last_id = "0"
        self._quiet = 0
        self.done = False

    @property
    def request(self) -> Request:
        request = self._stream.request
        if not self._stream.resumable:
            return request
        return replace(request, headers={**request.headers, "last-event-id": self._last_id})

    def line(self, line: str) -> T | None:
        """The event that the line holds. ``ApiError`` where it tells one."""
        self._quiet = 0
        if line.startswith(_ID):
            self._last_id = line.removeprefix(_ID).strip()
        if not line.startswith(_DATA):
            return None
        data = line.removeprefix(_DATA).strip()
        if data == _DONE:
            self.done = True
            return None
        try:
            event = json.loads(data)
        except ValueError as error:
            raise StreamBroken(f"an event is not JSON: {data[:80]!r}") from error
        if isinstance(event, dict) and isinstance(fault := event.get("error"), dict):
            raise stream_error(fault)
        return self._stream.read(event)

    def broke(self, error: Exception | None) -> float:
        """Seconds until it is to be opened again; ``StreamBroken`` where it is not."""
        self._quiet += 1
        why = f": {error or 'it ended early'}"
        if self._stream.resumable and self._quiet <= RESUMES_MAX:
            return RESUME_S
        broken: ClientError = StreamBroken(
            f"{self._stream.request.path} keeps breaking off{why}"
            if self._stream.resumable
            else f"{self._stream.request.path} broke off{why}"
        )
        broken.idempotency_key = self._stream.request.idempotency_key
        raise broken from error
