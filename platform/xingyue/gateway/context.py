"""The outermost layer: a request id on every answer, limits on every body, no fault unanswered."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xingyue import ids, metrics
from xingyue.errors import Internal, InvalidRequest, PayloadTooLarge, XingyueError
from xingyue.gateway.errors import error_response

log = logging.getLogger(__name__)

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


class RequestContext:
    """``body_max_bytes``: a larger body is refused, by its length or as soon as it gets there.
    ``stamp``: put the request id on the answer; False behind a proxy that does it itself."""

    def __init__(self, app: ASGIApp, *, body_max_bytes: int, stamp: bool = True) -> None:
        self._app = app
        self._body_max_bytes = body_max_bytes
        self._stamp = stamp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state: MutableMapping[str, Any] = scope.setdefault("state", {})
        state["started_s"] = time.perf_counter()
        sent_id = Headers(scope=scope).get("x-request-id", "")
        # A caller's own id is kept, so that its logs and ours meet.
        state["request_id"] = sent_id if _REQUEST_ID.match(sent_id) else f"req_{ids.unique_hex()}"
        answered = False
        asked = scope["method"]
        if asked == "HEAD":
            # As GET, the body left out below.
            scope["method"] = "GET"

        async def stamped(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = True
                headers = MutableHeaders(scope=message)
                if self._stamp:
                    headers["x-request-id"] = state["request_id"]
                headers.update(state.get("rate_headers", {}))
                route = getattr(scope.get("route"), "path", "unmatched")
                method = asked if asked in _METHODS else "other"
                seconds = time.perf_counter() - state["started_s"]
                metrics.answered(route, method, message["status"], seconds)
            elif asked == "HEAD":
                message = {**message, "body": b""}
            await send(message)

        try:
            self._check_length(scope)
            await self._app(scope, self._bounded(receive), stamped)
        except Exception as error:
            if answered:
                raise
            if not isinstance(error, XingyueError):
                log.exception("%s %s", scope["method"], scope["path"])
                error = Internal(f"an internal fault; it was logged as {state['request_id']}")
            await error_response(error, scope["path"])(scope, receive, stamped)

    def _check_length(self, scope: Scope) -> None:
        length = Headers(scope=scope).get("content-length")
        if length is None:
            return
        if not length.isdigit():
            raise InvalidRequest("content-length is not a number", param="content-length")
        if int(length) > self._body_max_bytes:
            raise self._too_large()

    def _bounded(self, receive: Receive) -> Receive:
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._body_max_bytes:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the body is larger than {self._body_max_bytes} bytes, the limit of this platform; "
            "send fewer or smaller files",
            param="body",
        )
