"""The embedded S3 server: identities, durability, no orphans, clear refusals."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from minio import Minio
from minio.error import S3Error

from xingyue.errors import Conflict, Internal, InvalidRequest, NotFound
from xingyue.storage.embedded import EmbeddedS3
from xingyue.storage.identities import Credentials, Identities, server_pid
from xingyue.storage.ports import free_block
from xingyue.storage.s3 import S3Access, S3Store

pytestmark = pytest.mark.s3


def as_tenant(server: EmbeddedS3, pair: Credentials) -> Minio:
    return Minio(
        server.endpoint, pair.access_key, pair.secret_key, secure=False, region="us-east-1"
    )


def put(client: Minio, bucket: str, key: str = "x") -> None:
    import io

    client.put_object(bucket, key, io.BytesIO(b"1"), 1)


@pytest.mark.parametrize("other", ["tenant-bb", "tenant-aa-2", "tenant-a", "xingyue"])
def test_a_tenant_reaches_its_own_bucket_and_no_other(s3_server: EmbeddedS3, other: str) -> None:
    platform = S3Store(s3_server.access())
    pair = s3_server.identities.ensure_tenant("aa")
    assert s3_server.identities.ensure_tenant("aa") == pair
    assert pair.bucket == "tenant-aa"
    for bucket in (other, pair.bucket):
        platform.ensure_bucket(bucket)
        platform.put(bucket, "secret", b"s")
    client = as_tenant(s3_server, pair)
    put(client, pair.bucket)
    assert {found.object_name for found in client.list_objects(pair.bucket)} == {"x", "secret"}
    attempts = {
        "read": lambda: client.get_object(other, "secret"),
        "stat": lambda: client.stat_object(other, "secret"),
        "write": lambda: put(client, other),
        "list": lambda: list(client.list_objects(other)),
        "delete": lambda: client.remove_object(other, "secret"),
        "make": lambda: client.make_bucket("tenant-new"),
        "remove": lambda: client.remove_bucket(pair.bucket),
    }
    for name, attempt in attempts.items():
        with pytest.raises(S3Error) as caught:
            attempt()
        assert caught.value.code == "AccessDenied", name
    assert platform.get(other, "secret", max_bytes=9) == b"s"


def test_copy_from_another_tenants_bucket_is_denied(s3_server: EmbeddedS3) -> None:
    from minio.commonconfig import CopySource

    platform = S3Store(s3_server.access())
    for bucket in ("tenant-c1", "tenant-c2"):
        platform.ensure_bucket(bucket)
    platform.put("tenant-c2", "secret", b"s")
    client = as_tenant(s3_server, s3_server.identities.ensure_tenant("c1"))
    with pytest.raises(S3Error):
        client.copy_object("tenant-c1", "stolen", CopySource("tenant-c2", "secret"))
    assert not platform.exists("tenant-c1", "stolen")


def test_rotation_ends_the_old_key_at_once(s3_server: EmbeddedS3) -> None:
    S3Store(s3_server.access()).ensure_bucket("tenant-rot")
    old = s3_server.identities.ensure_tenant("rot")
    put(as_tenant(s3_server, old), "tenant-rot")
    new = s3_server.identities.rotate_tenant("rot")
    put(as_tenant(s3_server, new), "tenant-rot")
    with pytest.raises(S3Error, match="InvalidAccessKeyId"):
        put(as_tenant(s3_server, old), "tenant-rot")
    for _ in range(2):
        s3_server.identities.revoke_tenant("rot")
        with pytest.raises(S3Error, match="InvalidAccessKeyId"):
            put(as_tenant(s3_server, new), "tenant-rot")
    put(as_tenant(s3_server, s3_server.identities.ensure_tenant("rot")), "tenant-rot")


def test_anonymous_and_wrong_keys_are_refused(s3_server: EmbeddedS3) -> None:
    with pytest.raises(S3Error, match="AccessDenied"):
        list(Minio(s3_server.endpoint, secure=False, region="us-east-1").list_objects("xingyue"))
    access = s3_server.access()
    with pytest.raises(Internal) as caught:
        S3Store(S3Access(access.endpoint, access.access_key, "wrong")).ensure_bucket("xingyue")
    assert caught.value.code == "storage_denied"


def test_secrets_are_for_the_owner_alone(s3_server: EmbeddedS3) -> None:
    assert stat.S_IMODE(s3_server.identities.path.stat().st_mode) == 0o600
    assert (
        str(s3_server.access().secret_key)
        not in Path(f"/proc/{pid_of(s3_server)}/cmdline").read_text()
    )


def test_everything_listens_on_loopback_alone(s3_server: EmbeddedS3) -> None:
    inodes = {
        os.readlink(link)
        for link in Path(f"/proc/{pid_of(s3_server)}/fd").iterdir()
        if os.readlink(link).startswith("socket:")
    }
    listening = [
        fields[1]
        for table in ("tcp", "tcp6")
        for fields in map(str.split, Path(f"/proc/net/{table}").read_text().splitlines()[1:])
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes
    ]
    assert len(listening) == 8
    assert {address.split(":")[0] for address in listening} == {"0100007F"}


def test_data_outlives_stop_kill_and_a_change_of_ports(tmp_path: Path, own_port: int) -> None:
    with EmbeddedS3(tmp_path / "s3", own_port) as server:
        store = S3Store(server.access())
        store.ensure_bucket("kept")
        store.put("kept", "stopped", b"1" * 5_000_000)
        pair = server.identities.ensure_tenant("old")
    started = time.monotonic()
    server = EmbeddedS3(tmp_path / "s3", own_port)
    server.start()
    try:
        assert time.monotonic() - started < 30
        assert store.get("kept", "stopped", max_bytes=5_000_000) == b"1" * 5_000_000
        assert server.identities.ensure_tenant("old") == pair
        for number in range(200):
            store.put("kept", f"killed/{number}", str(number).encode())
        # The guard and the server, with no chance to write anything more.
        os.kill(pid_of(server), signal.SIGKILL)
    finally:
        server.stop()
    server.identities.revoke_tenant("old")
    first_inner_port = free_block(own_port, 7)[0]
    with (
        socket.create_server(("127.0.0.1", first_inner_port)),
        EmbeddedS3(tmp_path / "s3", own_port),
    ):
        with pytest.raises(S3Error, match="InvalidAccessKeyId"):
            put(as_tenant(server, pair), "tenant-old")
        found = {stat.key: stat for stat in store.list("kept")}
        assert len(found) == 201
        for number in range(200):
            data = store.get("kept", f"killed/{number}", max_bytes=10)
            assert data == str(number).encode()


OWNER = """
import sys, time
from pathlib import Path
from xingyue.storage.embedded import EmbeddedS3
EmbeddedS3(Path(sys.argv[1]), int(sys.argv[2])).start()
print("ready", flush=True)
time.sleep(600)
"""


def test_a_killed_owner_leaves_no_orphan_and_the_next_start_works(
    tmp_path: Path, own_port: int
) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path), str(own_port)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == "ready\n"
    pid = server_pid(tmp_path / "server.json")
    assert pid is not None
    with pytest.raises(Conflict, match=f"process {pid}"):
        EmbeddedS3(tmp_path, own_port).start()
    owner.kill()
    owner.communicate()
    with EmbeddedS3(tmp_path, own_port) as server:
        assert pid_of(server) != pid
        assert not Path(f"/proc/{pid}").exists()


def test_a_killed_guard_takes_the_server_along(tmp_path: Path, own_port: int) -> None:
    server = EmbeddedS3(tmp_path, own_port)
    server.start()
    pid = pid_of(server)
    assert server._guard is not None
    server._guard.kill()
    deadline = time.monotonic() + 5
    while server_pid(tmp_path / "server.json") == pid and time.monotonic() < deadline:
        time.sleep(0.05)
    assert server_pid(tmp_path / "server.json") is None
    server.stop()


def test_two_servers_run_side_by_side(s3_server: EmbeddedS3, tmp_path: Path, own_port: int) -> None:
    with EmbeddedS3(tmp_path, own_port) as second:
        S3Store(second.access()).ensure_bucket("mine")
        assert not S3Store(s3_server.access()).exists("mine", "x")
        with pytest.raises(Internal):
            S3Store(
                S3Access(
                    second.endpoint, s3_server.access().access_key, s3_server.access().secret_key
                )
            ).ensure_bucket("mine")


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(Conflict, match="XINGYUE_S3_PORT") as caught,
    ):
        EmbeddedS3(tmp_path, taken.getsockname()[1]).start()
    assert caught.value.param == "s3_port"


@pytest.mark.parametrize("tenant", ["", "A", "a_b", "-a", "a-", "x" * 57, "../a"])
def test_tenants_that_make_no_bucket_name_are_refused(tmp_path: Path, tenant: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Identities(tmp_path).ensure_tenant(tenant)
    assert caught.value.param == "tenant"


def test_access_before_the_first_start_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="xingyue up"):
        EmbeddedS3(tmp_path, 1).access()


def test_a_stale_note_of_another_process_is_not_believed(tmp_path: Path) -> None:
    note = tmp_path / "server.json"
    note.write_text(json.dumps({"pid": os.getpid(), "data": "/somewhere/else/entirely"}))
    assert server_pid(note) is None


def pid_of(server: EmbeddedS3) -> int:
    pid = server_pid(server.identities.server_path)
    assert pid is not None
    return pid
