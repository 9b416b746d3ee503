"""A fine-tuning job in a process of its own, at low priority, that never outlives its runner.

The child reads one line of JSON from standard input: which job, under which claim, and all that it
needs to know. Secrets are thereby in no command line and in no environment. The pipe stays open
while the runner lives: its end tells the child to leave.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from xingyue.catalog.spec import Catalog
from xingyue.jobs.models import Job
from xingyue.settings import Settings
from xingyue.storage.s3 import S3Access

COMMAND = (sys.executable, "-m", "xingyue.tune_worker")
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class S3Config(BaseModel):
    endpoint: str
    access_key: str
    secret_key: str
    secure: bool
    region: str

    def access(self) -> S3Access:
        return S3Access(**self.model_dump())


class ChildConfig(BaseModel):
    """Plain data: it travels to the runner's node, and from there into each child."""

    model_config = ConfigDict(frozen=True)

    home: Path
    database_url: str
    bucket: str
    s3: S3Config
    catalog: Catalog
    allow_hub: bool
    threads: int
    data_max_bytes: int
    files_max: int
    log_level: str

    @classmethod
    def of(cls, settings: Settings, catalog: Catalog, access: S3Access) -> ChildConfig:
        return cls(
            home=settings.home,
            database_url=settings.database_url or "",
            bucket=settings.s3_bucket,
            s3=S3Config(
                endpoint=access.endpoint,
                access_key=access.access_key,
                secret_key=access.secret_key,
                secure=access.secure,
                region=access.region,
            ),
            catalog=catalog,
            allow_hub=settings.allow_hub,
            threads=settings.tuning_threads,
            data_max_bytes=settings.tuning_data_max_bytes,
            files_max=settings.tuning_files_max,
            log_level=settings.log_level,
        )

    @property
    def work(self) -> Path:
        """Where jobs have their folders while they run."""
        return self.home / "jobs"


class Order(BaseModel):
    """The line on the child's standard input."""

    job_id: str
    claim: str
    config: ChildConfig


class Running(Protocol):
    """A job in its process."""

    @property
    def pid(self) -> int: ...

    def ended(self) -> bool: ...

    def kill(self) -> None:
        """End it now, and wait until it is gone."""
        ...


class Executor(Protocol):
    """Where jobs run. One that has started a job has it until ``ended`` says otherwise."""

    def start(self, job: Job) -> Running: ...

    def clean(self, job_id: str) -> None:
        """Remove what a job that is not running left on disk."""
        ...

    def clean_all(self) -> None:
        """At start, when nothing runs yet: remove what is left of all jobs."""
        ...


class LocalExecutor:
    """Jobs as child processes of this one. ``command`` is what tests replace."""

    def __init__(self, config: ChildConfig, command: Sequence[str] = COMMAND) -> None:
        self._config = config
        self._command = list(command)

    def start(self, job: Job) -> ChildProcess:
        config = self._config
        logs = config.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        order = Order(job_id=job.id, claim=job.claim or "", config=config)
        threads = {name: str(config.threads) for name in _THREAD_SETTINGS}
        with (logs / "tuning.log").open("ab") as log:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | threads,
                # Signals to the runner's group are the runner's to pass on.
                start_new_session=True,
            )
        child = ChildProcess(process)
        child.order(order.model_dump_json().encode() + b"\n")
        return child

    def clean(self, job_id: str) -> None:
        shutil.rmtree(self._config.work / job_id, ignore_errors=True)

    def clean_all(self) -> None:
        shutil.rmtree(self._config.work, ignore_errors=True)


class ChildProcess:
    def __init__(self, process: subprocess.Popen[Any]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    def order(self, line: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        # One that died already is found by ``ended``.
        with contextlib.suppress(BrokenPipeError):
            pipe.write(line)
            pipe.flush()

    def ended(self) -> bool:
        if self._process.poll() is None:
            return False
        self._close()
        return True

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
