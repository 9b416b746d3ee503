"""Who may use the embedded S3 server: one file (mode 600) that the server reads.

The platform's identity may do anything; a tenant's may read, write and list its own bucket
``tenant-<id>`` and nothing else. The file is the only home of the secrets. The server re-reads it
on SIGHUP, so a tenant is added without a restart, from any process of this machine.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xingyue.errors import InvalidRequest, NotFound, Overloaded
from xingyue.storage.s3 import S3Access, knows_key

PLATFORM = "platform"
BUCKET_PREFIX = "tenant-"
_TENANT = re.compile(r"^[a-z0-9]([a-z0-9-]{0,54}[a-z0-9])?$")
_RELOAD_S = 5.0
_ACTIONS = ("Read", "Write", "List", "Tagging")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An S3 key pair and, for a tenant, its bucket."""

    access_key: str
    secret_key: str = field(repr=False)
    bucket: str | None = None


def tenant_bucket(tenant: str) -> str:
    """``tenant-<id>``. ``InvalidRequest`` if that would be no bucket's name."""
    if not _TENANT.match(tenant):
        raise InvalidRequest(
            f"tenant {tenant!r} cannot have a bucket: use 1 to 56 of a-z, 0-9 and '-', beginning "
            "and ending with a letter or digit",
            param="tenant",
        )
    return BUCKET_PREFIX + tenant


class Identities:
    """The credentials file of one embedded server, under ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "identities.json"
        self.server_path = folder / "server.json"
        self._lock_path = folder / "identities.lock"

    def ensure_platform(self) -> Credentials:
        """The platform's key pair, made on the first call."""
        return self._ensure(PLATFORM, ["Admin", *_ACTIONS], None)

    def ensure_tenant(self, tenant: str) -> Credentials:
        """The tenant's key pair, made on the first call; a running server knows it on return.

        The bucket itself is made by the platform's identity (``ObjectStore.ensure_bucket``).
        """
        bucket = tenant_bucket(tenant)
        return self._ensure(bucket, [f"{action}:{bucket}" for action in _ACTIONS], bucket)

    def rotate_tenant(self, tenant: str) -> Credentials:
        """A new key pair for the tenant; the old one is refused from now on."""
        self.revoke_tenant(tenant)
        return self.ensure_tenant(tenant)

    def revoke_tenant(self, tenant: str) -> None:
        """Forget the tenant's key pair, which is refused on return. Its objects stay."""
        name = tenant_bucket(tenant)
        with self._locked():
            entries = self._read()
            gone = [entry for entry in entries if entry["name"] == name and entry["credentials"]]
            if gone:
                # The name stays: a reload replaces identities that the file names, and keeps
                # those that it does not.
                empty = {"name": name, "credentials": [], "actions": []}
                self._write([entry for entry in entries if entry["name"] != name] + [empty])
        for entry in gone:
            self._await_server(_credentials(entry, name), known=False)

    def platform(self) -> Credentials:
        """The platform's key pair; ``NotFound`` before the server's first start."""
        for entry in self._read():
            if entry["name"] == PLATFORM:
                return _credentials(entry, None)
        raise NotFound(
            f"no S3 credentials at {self.path}; start the platform once (xingyue up)",
            param="XINGYUE_HOME",
        )

    def _ensure(self, name: str, actions: list[str], bucket: str | None) -> Credentials:
        with self._locked():
            entries = self._read()
            for entry in entries:
                if entry["name"] == name and entry["credentials"]:
                    return _credentials(entry, bucket)
            pair = {
                "accessKey": "XY" + secrets.token_hex(9).upper(),
                "secretKey": secrets.token_urlsafe(30),
            }
            entry = {"name": name, "credentials": [pair], "actions": actions}
            self._write([*(other for other in entries if other["name"] != name), entry])
        made = _credentials(entry, bucket)
        if bucket is not None:
            self._await_server(made, known=True)
        return made

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._lock_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _read(self) -> list[dict[str, Any]]:
        try:
            entries: list[dict[str, Any]] = json.loads(self.path.read_text())["identities"]
        except FileNotFoundError:
            return []
        return entries

    def _write(self, entries: list[dict[str, Any]]) -> None:
        partial = self.path.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"identities": entries}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, self.path)
        self.reload_server()

    def reload_server(self) -> None:
        """Have the running server, if there is one, read the file again."""
        if (pid := server_pid(self.server_path)) is not None:
            os.kill(pid, signal.SIGHUP)

    def _await_server(self, pair: Credentials, *, known: bool) -> None:
        """Wait until the running server, if there is one, has taken the change.

        ``Overloaded`` if it does not within five seconds: the file is right, calling again helps.
        """
        deadline = time.monotonic() + _RELOAD_S
        while server_pid(self.server_path) is not None:
            port = int(json.loads(self.server_path.read_text())["s3_port"])
            access = S3Access(f"127.0.0.1:{port}", pair.access_key, pair.secret_key)
            if knows_key(access, pair.bucket or PLATFORM) is known:
                return
            if time.monotonic() > deadline:
                raise Overloaded(
                    "the S3 server did not take a change of credentials in time; try again",
                    code="storage_unavailable",
                )
            time.sleep(0.02)


def server_pid(path: Path) -> int | None:
    """The process of the server that ``path`` (server.json) tells of, if it is alive and ours."""
    try:
        known = json.loads(path.read_text())
        pid = int(known["pid"])
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, KeyError, ProcessLookupError, PermissionError):
        return None
    command = Path(f"/proc/{pid}/cmdline")
    try:
        # The number may belong to another process by now; only ours names our data folder.
        alive = not Path("/proc/self").exists() or known["data"].encode() in command.read_bytes()
    except OSError:
        return None
    return pid if alive else None


def _credentials(entry: dict[str, Any], bucket: str | None) -> Credentials:
    pair = entry["credentials"][0]
    return Credentials(pair["accessKey"], pair["secretKey"], bucket)
