"""Serve applications by import path: for clusters that something else runs, KubeRay above all.

``xingyue serve`` drives a cluster from within; there, ``RayService`` does, which knows a Serve
configuration of import paths and nothing of us. Each builder reads ``XINGYUE_*`` where it runs, so
every pod must have the same. With ``supervisor`` on the top layer.

    python -m xingyue.applications        # prints the Serve configuration of XINGYUE_CATALOG
"""

from __future__ import annotations

import functools
from typing import Any

import yaml

from xingyue.catalog.loader import load_catalog
from xingyue.catalog.spec import Catalog
from xingyue.demo import provision_operator
from xingyue.errors import InvalidRequest, NotFound
from xingyue.settings import Settings
from xingyue.storage.s3 import S3Access

# Not __name__: run as a program, this module is called otherwise.
_MODULE = "xingyue.applications"


def trunk(args: dict[str, str]) -> Any:
    """The application of the trunk ``args["trunk"]``; it must be run as ``trunk-<name>``."""
    from xingyue.serving.cluster import trunk_application

    settings, catalog, access = _shared()
    name = args.get("trunk", "")
    if name not in catalog.trunks:
        raise NotFound(f"no trunk {name!r} in {settings.catalog}", param="trunk")
    return trunk_application(settings, catalog, name, access)


def gateway(args: dict[str, str]) -> Any:
    """The gateway, and before it the schema and the operator's key."""
    from xingyue.serving.ingress import gateway_application
    from xingyue.supervisor import build_gateway

    settings, catalog, access = _shared()
    provision_operator(settings)
    build = functools.partial(build_gateway, settings, catalog, access)
    return gateway_application(build, replicas=settings.gateway_replicas)


def tuning(args: dict[str, str]) -> Any:
    """Fine-tuning, on one node."""
    from xingyue.serving.tuning import tuning_target

    settings, catalog, access = _shared()
    return tuning_target(settings, catalog, access).target


def serve_config(settings: Settings, catalog: Catalog) -> dict[str, Any]:
    """``ServeDeploySchema``: what a RayService carries as ``serveConfigV2``."""
    applications: list[dict[str, Any]] = [
        {
            "name": f"trunk-{name}",
            "route_prefix": None,
            "import_path": f"{_MODULE}:trunk",
            "args": {"trunk": name},
        }
        for name in catalog.used_trunks("replica")
    ]
    applications.append(
        {"name": "gateway", "route_prefix": "/", "import_path": f"{_MODULE}:gateway"}
    )
    if settings.tuning_slots:
        applications.append(
            {"name": "tuning", "route_prefix": None, "import_path": f"{_MODULE}:tuning"}
        )
    return {
        "proxy_location": settings.ray_proxies,
        "http_options": {"host": settings.host, "port": settings.port},
        "logging_config": {"enable_access_log": False},
        "applications": applications,
    }


def _shared() -> tuple[Settings, Catalog, S3Access]:
    """What all nodes must agree on. ``InvalidRequest`` for what would be one node's own."""
    settings = Settings()
    if settings.database_url is None or settings.database_url.startswith("sqlite"):
        raise InvalidRequest(
            "several nodes share one ledger: set XINGYUE_DATABASE_URL to a PostgreSQL",
            param="database_url",
        )
    if settings.s3_endpoint is None:
        raise InvalidRequest(
            "several nodes share one object store: set XINGYUE_S3_ENDPOINT", param="s3_endpoint"
        )
    settings = settings.resolved()
    secret = settings.s3_secret_key.get_secret_value() if settings.s3_secret_key else None
    access = S3Access.external(
        settings.s3_endpoint or "", settings.s3_access_key, secret, settings.s3_secure
    )
    return settings, load_catalog(settings.catalog), access


if __name__ == "__main__":
    current = Settings()
    print(yaml.safe_dump(serve_config(current, load_catalog(current.catalog)), sort_keys=False))
