"""A tenant's own bucket: who may reach it, with which key pair, by which signed URL.

On the embedded server every tenant has an identity of its own, allowed its own bucket and nothing
else. On an operator's server the platform can't make identities: keys are asked of the operator,
and signed URLs work without.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, Protocol

from xingyue.errors import Conflict, InvalidRequest
from xingyue.storage.identities import Credentials, Identities, tenant_bucket
from xingyue.storage.objects import ObjectStat, ObjectStore, check_key
from xingyue.storage.s3 import S3Access

EXPIRES_MAX_S = 24 * 3600


@dataclass(frozen=True, slots=True)
class BucketAccess:
    """What an S3 client needs. ``endpoint`` is a URL; the secret stays out of logs."""

    endpoint: str
    bucket: str
    access_key: str
    secret_key: str = field(repr=False)
    region: str


class KeyPairs(Protocol):
    """Where tenants' key pairs come from. Every call may wait seconds for the server."""

    def ensure_tenant(self, tenant: str) -> Credentials: ...

    def rotate_tenant(self, tenant: str) -> Credentials: ...

    def revoke_tenant(self, tenant: str) -> None: ...


class UnmanagedKeys:
    """An operator's server: no identities of ours."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    def ensure_tenant(self, tenant: str) -> Credentials:
        raise Conflict(
            f"this platform keeps objects on its operator's S3 server ({self._endpoint}), where "
            f"it can't make keys; ask the operator for a key pair of bucket "
            f"{tenant_bucket(tenant)}, or upload by signed URLs (POST /v1/storage/presign)",
            code="storage_unmanaged",
        )

    rotate_tenant = ensure_tenant

    def revoke_tenant(self, tenant: str) -> None:
        """Nothing of ours to revoke: the operator's keys are the operator's."""


class TenantAccess:
    """Safe to share between threads. The tenant's bucket is made if it is missing."""

    def __init__(self, objects: ObjectStore, access: S3Access, keys: KeyPairs) -> None:
        self._objects = objects
        self._access = access
        self._keys = keys

    @classmethod
    def embedded(
        cls, objects: ObjectStore, access: S3Access, identities: Identities
    ) -> TenantAccess:
        return cls(objects, access, identities)

    @classmethod
    def external(cls, objects: ObjectStore, access: S3Access) -> TenantAccess:
        return cls(objects, access, UnmanagedKeys(access.endpoint))

    def open(self, tenant: str) -> BucketAccess:
        """The tenant's key pair, made on the first call. ``Conflict`` (``storage_unmanaged``) on
        an operator's server."""
        return self._described(self._keys.ensure_tenant(tenant), self._bucket(tenant))

    def rotate(self, tenant: str) -> BucketAccess:
        """A new key pair; the old one is refused from now on. ``Conflict`` as ``open``."""
        return self._described(self._keys.rotate_tenant(tenant), self._bucket(tenant))

    def close(self, tenant: str) -> None:
        """Refuse the tenant's key pair from now on; ``open`` makes another. Its objects stay."""
        self._keys.revoke_tenant(tenant)

    def presign(
        self, tenant: str, key: str, *, method: Literal["GET", "PUT"], expires_s: int
    ) -> str:
        """A URL for one object of the tenant's bucket. ``InvalidRequest`` names the field."""
        check_key(key)
        if not 1 <= expires_s <= EXPIRES_MAX_S:
            raise InvalidRequest(
                f"expires_s must be 1 to {EXPIRES_MAX_S} seconds, got {expires_s}",
                param="expires_s",
            )
        bucket = self._bucket(tenant)
        return self._objects.presigned_url(bucket, key, method=method, expires_s=expires_s)

    def list(self, tenant: str, prefix: str) -> Iterator[ObjectStat]:
        """Objects of the tenant's bucket under ``prefix``, in order of their keys."""
        return self._objects.list(self._bucket(tenant), prefix)

    def _bucket(self, tenant: str) -> str:
        bucket = tenant_bucket(tenant)
        self._objects.ensure_bucket(bucket)
        return bucket

    def _described(self, pair: Credentials, bucket: str) -> BucketAccess:
        scheme = "https" if self._access.secure else "http"
        return BucketAccess(
            f"{scheme}://{self._access.endpoint}",
            bucket,
            pair.access_key,
            pair.secret_key,
            self._access.region,
        )
