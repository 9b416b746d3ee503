"""The gateway's deployment: any ASGI application behind Ray Serve's ingress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray import serve
from starlette.types import ASGIApp

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Gateway:
    """``build`` runs in the replica's process; what it takes along must be plain data."""

    def __init__(self, build: Callable[[], ASGIApp]) -> None:
        self._build = build

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._build()

    async def check_health(self) -> None:
        """Ray Serve calls it. Answering at all means that the loop turns."""


def gateway_application(build: Callable[[], ASGIApp], *, replicas: int) -> Any:
    deployment: Any = serve.deployment(
        serve.ingress()(Gateway),
        name="Gateway",
        num_replicas=replicas,
        ray_actor_options={
            "num_cpus": 0.5,
            # Trunks that run here have threads of their own; a pool for every matrix product more
            # would only fight them for the cores.
            "runtime_env": {"env_vars": dict.fromkeys(THREAD_VARIABLES, "1")},
        },
        max_ongoing_requests=2048,
        health_check_period_s=5,
        graceful_shutdown_timeout_s=10,
    )
    return deployment.bind(build)
