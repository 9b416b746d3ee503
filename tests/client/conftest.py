"""The gateway of ``tests/gateway`` on a port, and a line to it that can be cut."""

from __future__ import annotations

import importlib.util
import socket
import struct
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from xingyue_client import AsyncXingyue, Retries, Xingyue


def _gateway():
    path = Path(__file__).parents[1] / "gateway" / "conftest.py"
    spec = importlib.util.spec_from_file_location("gateway_conftest", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_shared = _gateway()
listen, objects, engines, samples = (
    _shared.listen,
    _shared.objects,
    _shared.engines,
    _shared.samples,
)
QUICK = Retries(first_s=0.05)


class Line:
    """A TCP line to a gateway. The first connections are cut: ``before`` the request reaches the
    gateway, ``sent`` once it has, ``answered`` when the first bytes of the answer are there, or
    ``within`` it, when the caller has some of it."""

    def __init__(self, port: int, cuts: list[str]) -> None:
        self._port, self._cuts = port, cuts
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                caller, _ = self._listener.accept()
                self.connections += 1
                cut = self._cuts.pop(0) if self._cuts else None
                threading.Thread(target=self._serve, args=(caller, cut), daemon=True).start()

    def _serve(self, caller: socket.socket, cut: str | None) -> None:
        with caller, socket.create_connection(("127.0.0.1", self._port)) as gateway:
            if cut == "before":
                caller.recv(1)
                _reset(caller)
                return
            up = threading.Thread(target=_pump, args=(caller, gateway), daemon=True)
            up.start()
            if cut == "sent":
                # A request of the tests fits into one packet or two.
                threading.Event().wait(0.2)
                _reset(caller)
                _pump(gateway, None)
                return
            if cut in ("answered", "within"):
                data = gateway.recv(1 << 16)
                if cut == "within":
                    while b"data: " not in data:
                        data += gateway.recv(1 << 16)
                    caller.sendall(data)
                    threading.Event().wait(0.2)
                _reset(caller)
                return
            _pump(gateway, caller)


def _pump(source: socket.socket, target: socket.socket | None) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 16):
            if target is not None:
                target.sendall(data)


def _reset(caller: socket.socket) -> None:
    """RST instead of FIN: a connection that was killed."""
    caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    # The other thread's read holds the descriptor open.
    with suppress(OSError):
        caller.shutdown(socket.SHUT_RD)
    caller.close()


@pytest.fixture
def line():
    """``line(world, *cuts)``."""
    made = []

    def open_line(world, *cuts):
        made.append(Line(world.client.base_url.port, list(cuts)))
        return made[-1]

    yield open_line
    for each in made:
        each.close()


@pytest.fixture
def sync_client():
    """``sync_client(url, key)``."""
    made = []

    def connect(url, key, **options):
        made.append(Xingyue(url, key, **({"retries": QUICK} | options)))
        return made[-1]

    yield connect
    for each in made:
        each.close()


@pytest.fixture
def async_client():
    def connect(url, key, **options):
        return AsyncXingyue(url, key, **({"retries": QUICK} | options))

    return connect


@pytest.fixture
def bills():
    """``bills(world, tenant)``: what the ledger has of a tenant, through the public door."""

    def read(world, tenant):
        page = world.call("GET", "/v1/usage/events?limit=1000", tenant)
        return [event["data"] for event in page.json()]

    return read
