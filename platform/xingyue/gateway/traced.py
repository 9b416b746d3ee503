"""One span per request, a child of the caller's ``traceparent``; nothing while tracing is off."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from xingyue import tracing

# Asked every few seconds by machines: their spans would bury the calls'.
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})


class RequestTrace:
    """Stands inside ``RequestContext``, whose request id it names."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if tracing.active is None or scope["type"] != "http" or scope["path"] in _QUIET:
            await self._app(scope, receive, send)
            return
        facts = {
            "http.request.method": scope["method"],
            "url.path": scope["path"],
            "xingyue.request_id": scope["state"]["request_id"],
        }
        with tracing.active.request(Headers(scope=scope), facts) as span:

            async def noted(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    route = getattr(scope.get("route"), "path", "unmatched")
                    span.set_attribute("http.route", route)
                    model = Headers(raw=message["headers"]).get("x-xingyue-model")
                    if model is not None:
                        span.set_attribute("xingyue.model", model)
                await send(message)

            await self._app(scope, receive, noted)
