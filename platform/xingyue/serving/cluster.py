"""Starting Ray and Serve, deploying a catalogue: one application per trunk, one for the gateway.

``environment.prepare`` must have run before this module is imported.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Callable
from typing import Any

import psutil
import ray
from ray import serve
from ray.serve.config import HTTPOptions, ProxyLocation
from starlette.types import ASGIApp

from xingyue.catalog.spec import Catalog, TrunkSpec
from xingyue.serving.ingress import THREAD_VARIABLES, gateway_application
from xingyue.serving.remote import DEPLOYMENT, app_name
from xingyue.serving.replica import ReplicaConfig, TrunkReplica
from xingyue.serving.tuning import tuning_target
from xingyue.settings import Settings
from xingyue.storage.s3 import S3Access

log = logging.getLogger(__name__)

GATEWAY_APP = "gateway"
_STOP_S = 3.0


def start(settings: Settings) -> Callable[[], None]:
    """Join the operator's cluster, or start one here; returns what stops it again."""
    others = set(psutil.Process().children(recursive=True))
    _init(settings)
    serve.start(
        http_options=HTTPOptions(
            host=settings.host,
            port=settings.port,
            request_timeout_s=None,
            location=ProxyLocation(settings.ray_proxies),
        ),
        logging_config={"enable_access_log": False},
    )
    return functools.partial(_stop, others)


def _init(settings: Settings) -> None:
    if settings.ray_address:
        ray.init(address=settings.ray_address, log_to_driver=False)
        return
    for attempt in (1, 2, 3):
        try:
            ray.init(
                # Never another's cluster that happens to run on this machine.
                address="local",
                # A plan, not a limit: an idle trunk must not keep another from being placed.
                num_cpus=settings.ray_cpus or max(8, os.cpu_count() or 1),
                include_dashboard=settings.ray_dashboard,
                dashboard_host="127.0.0.1",
                _node_ip_address="127.0.0.1",
                object_store_memory=512 * 2**20,
                log_to_driver=False,
                configure_logging=False,
            )
            return
        except Exception as error:
            # Ray gives its own processes 30 seconds, which a machine under load may not keep.
            if "timed out" not in str(error) or attempt == 3:
                raise
            log.warning("Ray did not start in time (try %d): %s", attempt, error)
            ray.shutdown()


def _stop(others: set[psutil.Process]) -> None:
    """Stop Serve, and Ray where it was started here; returns once its processes are gone.
    ``others``: processes below this one that are not Ray's."""
    started = set(psutil.Process().children(recursive=True)) - others
    serve.shutdown()  # type: ignore[no-untyped-call]
    ray.shutdown()
    # Ray's node agents outlive it by a minute unless told.
    _, left = psutil.wait_procs(started, timeout=_STOP_S)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.terminate()
    _, left = psutil.wait_procs(left, timeout=_STOP_S)
    for process in left:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def deploy(
    settings: Settings, catalog: Catalog, access: S3Access, build: Callable[[], ASGIApp]
) -> None:
    """Every trunk with replicas of its own, the gateway and fine-tuning, side by side.
    Returns once Serve knows them; readiness tells when they run. ``build`` makes the ASGI
    application, in the gateway's own process."""
    targets = [
        serve.RunTarget(
            trunk_application(settings, catalog, name, access), app_name(name), route_prefix=None
        )
        for name in catalog.used_trunks("replica")
    ]
    gateway = gateway_application(build, replicas=settings.gateway_replicas)
    targets.append(serve.RunTarget(gateway, GATEWAY_APP, route_prefix="/"))
    if settings.tuning_slots:
        targets.append(tuning_target(settings, catalog, access))
    serve.run_many(
        targets, wait_for_ingress_deployment_creation=False, wait_for_applications_running=False
    )


def failures() -> dict[str, str]:
    """Applications that Serve has given up on, and why in its last line of words."""
    return {
        name: status.message.strip().splitlines()[-1] if status.message.strip() else status.status
        for name, status in serve.status().applications.items()
        if status.status in ("DEPLOY_FAILED", "UNHEALTHY")
    }


def trunk_application(settings: Settings, catalog: Catalog, name: str, access: S3Access) -> Any:
    """The replica group of one trunk, to be run as the application ``app_name(name)``."""
    spec = catalog.trunks[name]
    config = ReplicaConfig(
        name=name,
        trunk=spec,
        weights=dict(catalog.weights),
        home=settings.home,
        allow_hub=settings.allow_hub,
        s3=access,
        image_max_pixels=settings.image_max_pixels,
        trace=settings.trace_target,
    )
    deployment: Any = serve.deployment(
        TrunkReplica,
        name=DEPLOYMENT,
        ray_actor_options=_actor_options(spec),
        # Batches, not calls: the gateway's coalescer bounds what is out.
        max_ongoing_requests=64,
        health_check_period_s=5,
        health_check_timeout_s=30,
        graceful_shutdown_timeout_s=10,
        **_scaling(spec),
    )
    return deployment.bind(config)


def _actor_options(spec: TrunkSpec) -> dict[str, Any]:
    return {
        "num_cpus": spec.num_cpus,
        "num_gpus": spec.num_gpus,
        "resources": dict(spec.placement),
        "runtime_env": {"env_vars": dict.fromkeys(THREAD_VARIABLES, str(spec.threads))},
    }


def _scaling(spec: TrunkSpec) -> dict[str, Any]:
    scaling = spec.autoscaling
    if scaling.min_replicas == scaling.max_replicas:
        return {"num_replicas": scaling.max_replicas}
    return {"autoscaling_config": scaling.model_dump()}
