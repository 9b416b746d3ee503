"""The running platform: object store, Ray Serve, gateway. Starts all, waits, stops all.

With ``app`` the composition root: that one builds a process, this one the set of processes.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager

import httpx
from fastapi import FastAPI

from xingyue.app import open_services, weight_store
from xingyue.catalog.heads import HeadSource
from xingyue.catalog.loader import load_catalog
from xingyue.catalog.spec import Catalog
from xingyue.demo import provision
from xingyue.errors import Internal
from xingyue.gateway import oip_grpc
from xingyue.gateway.application import build_app
from xingyue.gateway.services import Services
from xingyue.serving import environment
from xingyue.serving.local import LocalServing, LocalTrunk
from xingyue.settings import Settings
from xingyue.storage.embedded import EmbeddedS3
from xingyue.storage.s3 import S3Access, S3Store

log = logging.getLogger(__name__)

_READY_TIMEOUT_S = 180.0


def run_platform(settings: Settings, on_ready: Callable[[], None]) -> None:
    """Blocks until SIGTERM or SIGINT, then stops what it started. ``on_ready`` is called once
    every entry answers. Raises ``XingyueError`` if something can't start."""
    settings = settings.resolved()
    environment.prepare(os.environ, home=settings.home, haproxy=settings.haproxy)
    # Imported late: Ray reads its switches on import.
    from xingyue.serving import cluster

    catalog = load_catalog(settings.catalog)
    stopping = threading.Event()
    _on_stop_signal(stopping)
    with ExitStack() as stack:
        access = _object_store(settings, stack)
        provision(settings)
        stack.callback(cluster.start(settings))
        # Ray has put its own handler in place, one that ends the process where it stands.
        _on_stop_signal(stopping)
        build = functools.partial(build_gateway, settings, catalog, access)
        cluster.deploy(settings, catalog, access, build)
        _wait_ready(settings, stopping, cluster.failures)
        if not stopping.is_set():
            on_ready()
        stopping.wait()


def _on_stop_signal(stopping: threading.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())


def _object_store(settings: Settings, stack: ExitStack) -> S3Access:
    if settings.s3_endpoint:
        secret = settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else ""
        return S3Access.external(
            settings.s3_endpoint, settings.s3_access_key or "", secret, settings.s3_secure
        )
    server = EmbeddedS3(settings.s3_folder, settings.s3_port)
    access = server.start()
    stack.callback(server.stop)
    return access


def build_gateway(settings: Settings, catalog: Catalog, access: S3Access) -> FastAPI:
    """Runs in the gateway's own process."""
    from xingyue.serving.readiness import ServeReadiness
    from xingyue.serving.remote import RemoteTrunk

    @asynccontextmanager
    async def services() -> AsyncIterator[Services]:
        remote = {
            name: RemoteTrunk(
                name,
                catalog.trunks[name],
                queue_max=settings.queue_max,
                wait_max_s=settings.queue_wait_max_s,
            )
            for name in catalog.used_trunks("replica")
        }
        readiness = ServeReadiness(catalog)
        async with AsyncExitStack() as stack:
            trunks = remote | stack.enter_context(own_trunks(settings, catalog, access))
            built = await stack.enter_async_context(
                open_services(settings, catalog, access, trunks, readiness)
            )
            if settings.grpc_port:
                door = oip_grpc.serve(built, settings.host, settings.grpc_port)
                await stack.enter_async_context(door)
            yield built

    # Serve's ingress puts the request id on every answer.
    return build_app(services, body_max_bytes=settings.body_max_bytes, stamp_request_id=False)


@contextmanager
def own_trunks(
    settings: Settings, catalog: Catalog, access: S3Access
) -> Iterator[dict[str, LocalTrunk]]:
    """The trunks that run in this process, loaded: a gateway that answers has them all."""
    serving = LocalServing(
        catalog,
        weight_store(settings, catalog),
        HeadSource(settings.home / "cache" / "heads", S3Store(access)),
        image_max_pixels=settings.image_max_pixels,
    )
    names = catalog.used_trunks("gateway")
    trunks = serving.trunks(
        names, queue_max=settings.queue_max, wait_max_s=settings.queue_wait_max_s
    )
    try:
        for name in names:
            serving.engine(name)
        yield trunks
    finally:
        for trunk in trunks.values():
            trunk.close()
        serving.close()


def _wait_ready(
    settings: Settings, stopping: threading.Event, failures: Callable[[], dict[str, str]]
) -> None:
    """``Internal`` as soon as an application has failed for good, or after the time-out."""
    url = f"http://{settings.host}:{settings.port}/readyz"
    until_s = time.monotonic() + _READY_TIMEOUT_S
    last = "no answer"
    while time.monotonic() < until_s and not stopping.is_set():
        try:
            answer = httpx.get(url, timeout=5)
            if answer.status_code == 200:
                return
            last = answer.text[:300]
        except httpx.HTTPError as error:
            last = str(error)
        if failed := failures():
            reasons = "; ".join(f"{name}: {reason}" for name, reason in failed.items())
            raise Internal(f"the platform can't start: {reasons}")
        stopping.wait(0.5)
    if not stopping.is_set():
        raise Internal(f"the platform is not ready after {_READY_TIMEOUT_S:g} s: {last}")
