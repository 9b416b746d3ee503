"""``/v1/storage``: each tenant its own bucket and key pair, and nobody else's."""

from __future__ import annotations

import dataclasses
import io
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import urllib3
from minio import Minio
from minio.error import S3Error
from starlette.testclient import TestClient

from xingyue.audit.log import AuditLog
from xingyue.clock import SystemClock
from xingyue.gateway.application import build_app
from xingyue.gateway.services import Services
from xingyue.storage.database import create_schema, open_engine
from xingyue.storage.embedded import EmbeddedS3
from xingyue.storage.identities import Credentials, tenant_bucket
from xingyue.storage.memory import MemoryStore
from xingyue.storage.objects import ObjectStore
from xingyue.storage.s3 import S3Access, S3Store
from xingyue.storage.tenant_access import TenantAccess
from xingyue.tenants.directory import TenantDirectory
from xingyue.tenants.rate_limit import TenantLimiter
from xingyue.tenants.store import TenantStore
from xingyue.tenants.tenant import Scope

ACCESS = S3Access("127.0.0.1:9", "platform", "secret")


class CountingKeys:
    """Key pairs that tell how often they were changed."""

    def __init__(self) -> None:
        self.turns: dict[str, int] = {}

    def ensure_tenant(self, tenant: str) -> Credentials:
        turn = self.turns.setdefault(tenant, 1)
        return Credentials(f"XY-{tenant}-{turn}", f"secret-{turn}", tenant_bucket(tenant))

    def revoke_tenant(self, tenant: str) -> None:
        self.turns[tenant] = self.turns.get(tenant, 0) + 1

    def rotate_tenant(self, tenant: str) -> Credentials:
        self.turns[tenant] = self.turns.get(tenant, 0) + 1
        return self.ensure_tenant(tenant)


@dataclasses.dataclass
class Gateway:
    client: TestClient
    tenants: TenantStore

    def key(self, tenant: str, *scopes: Scope) -> dict[str, str]:
        self.tenants.ensure_tenant(tenant, tenant)
        _, secret = self.tenants.issue_key(tenant, name="t", scopes=scopes or [Scope.TUNE])
        return {"authorization": f"Bearer {secret}"}


Serve = Callable[[ObjectStore, TenantAccess], Gateway]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    opened: list[TestClient] = []
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    create_schema(engine)
    clock = SystemClock()
    tenants = TenantStore(engine, clock=clock)

    def build(objects: ObjectStore, access: TenantAccess) -> Gateway:
        parts: dict[str, Any] = {field.name: None for field in dataclasses.fields(Services)}
        parts |= {
            "audit": AuditLog(engine, clock=clock),
            "clock": clock,
            "tenants": tenants,
            "directory": TenantDirectory(tenants, clock=clock),
            "limiter": TenantLimiter(clock, gateways=1),
            "objects": objects,
            "storage_access": access,
        }

        @asynccontextmanager
        async def services() -> AsyncIterator[Services]:
            yield Services(**parts)

        client = TestClient(build_app(services, body_max_bytes=1 << 20))
        client.__enter__()
        opened.append(client)
        return Gateway(client, tenants)

    yield build
    for client in opened:
        client.__exit__(None, None, None)
    engine.dispose()


def test_a_bucket_is_made_once_and_its_key_pair_kept(serve: Serve) -> None:
    store = MemoryStore()
    gateway = serve(store, TenantAccess(store, ACCESS, CountingKeys()))
    headers = gateway.key("washers")
    first = gateway.client.get("/v1/storage", headers=headers)
    assert first.json() == {
        "object": "storage",
        "endpoint": "http://127.0.0.1:9",
        "bucket": "tenant-washers",
        "access_key": "XY-washers-1",
        "secret_key": "secret-1",
        "region": "us-east-1",
    }
    assert first.headers["cache-control"] == "no-store"
    assert gateway.client.get("/v1/storage", headers=headers).json() == first.json()
    store.put("tenant-washers", "x", b"1")
    turned = gateway.client.post("/v1/storage/rotate", headers=headers).json()
    assert turned["access_key"] == "XY-washers-2"
    assert gateway.client.get("/v1/storage", headers=headers).json() == turned


def test_a_suspended_tenant_loses_its_key_pair_too(serve: Serve) -> None:
    store, keys = MemoryStore(), CountingKeys()
    gateway = serve(store, TenantAccess(store, ACCESS, keys))
    gateway.client.get("/v1/storage", headers=gateway.key("a"))
    operator = gateway.key("operator", Scope.ADMIN)
    for body, turns in (({"name": "A"}, 1), ({"status": "suspended"}, 2)):
        answer = gateway.client.patch("/admin/v1/tenants/a", headers=operator, json=body)
        assert answer.status_code == 200
        assert keys.turns["a"] == turns


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/storage"),
        ("POST", "/v1/storage/rotate"),
        ("POST", "/v1/storage/presign"),
        ("GET", "/v1/storage/objects"),
    ],
)
def test_every_door_needs_the_scope_tune(serve: Serve, method: str, path: str) -> None:
    store = MemoryStore()
    gateway = serve(store, TenantAccess(store, ACCESS, CountingKeys()))
    for headers, status in (({}, 401), (gateway.key("a", Scope.CALL, Scope.ADMIN), 403)):
        answer = gateway.client.request(method, path, headers=headers, json={"key": "x"})
        assert answer.status_code == status
        assert "secret" not in answer.text.replace("secret_key", "")


def test_an_operators_server_makes_no_keys_but_signs(serve: Serve) -> None:
    store = MemoryStore()
    gateway = serve(store, TenantAccess.external(store, ACCESS))
    headers = gateway.key("a")
    for method, path in (("GET", "/v1/storage"), ("POST", "/v1/storage/rotate")):
        answer = gateway.client.request(method, path, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["code"]) == (409, "storage_unmanaged")
        assert "ask the operator for a key pair of bucket tenant-a" in error["message"]
    asked = {"key": "datasets/s/good/1.png", "expires_s": 60}
    signed = gateway.client.post("/v1/storage/presign", headers=headers, json=asked).json()
    assert signed["url"] == "memory://tenant-a/datasets/s/good/1.png?method=PUT&expires=60"
    assert signed["uri"] == "s3://tenant-a/datasets/s/good/1.png"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"key": "../tenant-b/x"}, "key"),
        ({"key": ""}, "key"),
        ({"key": "x", "expires_s": 0}, "expires_s"),
        ({"key": "x", "expires_s": 86_401}, "expires_s"),
        ({"key": "x", "method": "DELETE"}, "method"),
        ({}, "key"),
    ],
)
def test_what_can_not_be_signed_names_its_field(
    serve: Serve, body: dict[str, Any], param: str
) -> None:
    store = MemoryStore()
    gateway = serve(store, TenantAccess.external(store, ACCESS))
    answer = gateway.client.post("/v1/storage/presign", headers=gateway.key("a"), json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param


def test_objects_come_in_pages_of_the_own_bucket_alone(serve: Serve) -> None:
    store = MemoryStore()
    for bucket in ("tenant-a", "tenant-b", "xingyue"):
        store.ensure_bucket(bucket)
        for number in range(5):
            store.put(bucket, f"datasets/{bucket}/{number}", b"x" * number)
    gateway = serve(store, TenantAccess(store, ACCESS, CountingKeys()))
    headers = gateway.key("a")
    seen: list[str] = []
    more = True
    while more:
        after = seen[-1] if seen else ""
        query = {"prefix": "datasets/", "limit": 2, "after": after}
        page = gateway.client.get("/v1/storage/objects", headers=headers, params=query).json()
        seen += [found["key"] for found in page["data"]]
        more = page["has_more"]
    assert seen == [f"datasets/tenant-a/{number}" for number in range(5)]


def _denied(attempt: Callable[[], object]) -> None:
    with pytest.raises(S3Error) as caught:
        attempt()
    assert caught.value.code == "AccessDenied"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.s3
def test_a_key_pair_from_the_route_opens_its_own_bucket_and_no_other(
    serve: Serve, tmp_path: Path
) -> None:
    with EmbeddedS3(tmp_path / "s3", _free_port()) as server:
        platform = S3Store(server.access())
        platform.ensure_bucket("xingyue")
        platform.put("xingyue", "secret", b"s")
        gateway = serve(
            platform, TenantAccess.embedded(platform, server.access(), server.identities)
        )
        one, two = gateway.key("one"), gateway.key("two")
        given = gateway.client.get("/v1/storage", headers=one).json()
        gateway.client.get("/v1/storage", headers=two)
        platform.put("tenant-two", "secret", b"s")
        client = _client(given)
        client.put_object("tenant-one", "x", io.BytesIO(b"1"), 1)
        assert [found.object_name for found in client.list_objects("tenant-one")] == ["x"]
        for bucket in ("tenant-two", "xingyue"):
            _denied(lambda bucket=bucket: client.get_object(bucket, "secret"))
            _denied(lambda bucket=bucket: client.stat_object(bucket, "secret"))
            _denied(lambda bucket=bucket: list(client.list_objects(bucket)))
            _denied(lambda bucket=bucket: client.remove_object(bucket, "secret"))
            _denied(lambda b=bucket: client.put_object(b, "mine", io.BytesIO(b"1"), 1))
            assert platform.get(bucket, "secret", max_bytes=9) == b"s"
            assert not platform.exists(bucket, "mine")
        _rotation_and_signed_urls(gateway, one, client)


def _client(given: dict[str, Any]) -> Minio:
    host = given["endpoint"].removeprefix("http://")
    return Minio(
        host, given["access_key"], given["secret_key"], secure=False, region=given["region"]
    )


def _rotation_and_signed_urls(gateway: Gateway, headers: dict[str, str], old: Minio) -> None:
    new = _client(gateway.client.post("/v1/storage/rotate", headers=headers).json())
    with pytest.raises(S3Error, match="InvalidAccessKeyId"):
        list(old.list_objects("tenant-one"))
    assert new.stat_object("tenant-one", "x").size == 1
    http = urllib3.PoolManager()
    ask = {"key": "datasets/线/a b+c.png", "method": "PUT"}
    signed = gateway.client.post("/v1/storage/presign", headers=headers, json=ask).json()
    assert http.request("PUT", signed["url"], body=b"pixels").status == 200
    assert http.request("PUT", signed["url"].replace("tenant-one", "tenant-two")).status == 403
    assert http.request("GET", signed["url"]).status == 403
    read = gateway.client.post(
        "/v1/storage/presign", headers=headers, json=ask | {"method": "GET"}
    ).json()
    assert http.request("GET", read["url"]).data == b"pixels"
