"""One gateway process's own metrics on a port of its own.

``/metrics`` behind the load balancer is answered by any gateway; Prometheus must ask each.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from xingyue import metrics
from xingyue.errors import InvalidRequest

log = logging.getLogger(__name__)

PORTS_MAX = 64
"""Of gateways on one node."""


class _Page(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(404)
            return
        page = metrics.exposition()
        self.send_response(200)
        self.send_header("content-type", metrics.MEDIA_TYPE)
        self.send_header("content-length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)

    def log_message(self, format: str, *args: object) -> None:
        """Asked every few seconds: not worth a line."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # The next gateway must find the port taken, also while this one starts.
    allow_reuse_port = False


@asynccontextmanager
async def own_port(host: str, first: int | None) -> AsyncIterator[int | None]:
    """Serve while the block lasts, on ``first`` or the next free port; nothing for None.
    ``InvalidRequest`` if all of ``PORTS_MAX`` are taken."""
    if first is None:
        yield None
        return
    server = _bind(host, first)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    log.info("metrics of this gateway on port %d", server.server_port)
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def _bind(host: str, first: int) -> _Server:
    for port in range(first, min(first + PORTS_MAX, 65_536)):
        try:
            return _Server((host, port), _Page)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise InvalidRequest(
        f"no free port from {first} on; set XINGYUE_METRICS_PORT to another range",
        param="metrics_port",
    )
