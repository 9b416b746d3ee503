"""Each gateway process shows its own numbers on a port of its own."""

from __future__ import annotations

import asyncio
import socket

import httpx
import pytest

from xingyue.errors import InvalidRequest
from xingyue.gateway import metrics_port
from xingyue.gateway.metrics_port import own_port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_same_page_on_its_own_port_and_nothing_else(open_world):
    first = _free_port()
    world = open_world(metrics_port=first)
    assert world.inspect("appliance-surface-qc", "a").status_code == 200
    page = httpx.get(f"http://127.0.0.1:{first}/metrics", trust_env=False)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "nv_inference_request_success{" in page.text
    assert "xingyue_request_seconds_bucket{" in page.text
    assert httpx.get(f"http://127.0.0.1:{first}/v1/account", trust_env=False).status_code == 404


def test_the_second_gateway_takes_the_next_port(monkeypatch):
    async def both() -> tuple[int | None, int | None]:
        first = _free_port()
        async with own_port("127.0.0.1", first) as one, own_port("127.0.0.1", first) as other:
            return one, other

    one, other = asyncio.run(both())
    assert one is not None
    assert other is not None
    assert other > one
    monkeypatch.setattr(metrics_port, "PORTS_MAX", 1)

    async def none_left() -> None:
        first = _free_port()
        async with own_port("127.0.0.1", first), own_port("127.0.0.1", first):
            pass

    with pytest.raises(InvalidRequest, match="XINGYUE_METRICS_PORT"):
        asyncio.run(none_left())


def test_none_is_nothing():
    async def off() -> object:
        async with own_port("127.0.0.1", None) as port:
            return port

    assert asyncio.run(off()) is None
