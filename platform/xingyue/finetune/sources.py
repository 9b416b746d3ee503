"""Where a job's data comes from: a file of the tenant's, or a folder of its own bucket."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from xingyue.errors import InvalidRequest, NotFound, PayloadTooLarge
from xingyue.files import keys
from xingyue.files.file_rows import FileRows
from xingyue.files.models import File, Purpose
from xingyue.storage.identities import tenant_bucket
from xingyue.storage.objects import ObjectStat, ObjectStore

_DOWNLOADS = 4
_NAME_MAX_BYTES = 255


@dataclass(frozen=True, slots=True)
class DataLimits:
    max_bytes: int
    max_files: int


class DataSources:
    """``bucket`` is the platform's own. Synchronous and safe to share between threads."""

    def __init__(self, rows: FileRows, store: ObjectStore, bucket: str, limits: DataLimits) -> None:
        self._rows = rows
        self._store = store
        self._bucket = bucket
        self._limits = limits

    def check(self, tenant_id: str, location: str, param: str) -> None:
        """Whether it is there and the tenant's. Another tenant's bucket and a folder that is not
        there look the same: ``NotFound``. ``InvalidRequest`` for a file of another purpose."""
        if location.startswith("file-"):
            self._file(tenant_id, location, param)
            return
        bucket, prefix = self._own_bucket(tenant_id, location, param)
        self._objects(bucket, prefix, location, param, most=1)

    def fetch(
        self,
        tenant_id: str,
        location: str,
        param: str,
        target: Path,
        check: Callable[[], None],
    ) -> int:
        """Bring all of it into the empty folder ``target``; how many files. A single file lies
        there under its own name. ``PayloadTooLarge`` beyond the limits, before anything is read;
        ``check`` may raise to stop."""
        if location.startswith("file-"):
            file = self._file(tenant_id, location, param)
            key = keys.file_key(tenant_id, file.id)
            wanted = [(self._bucket, key, Path(file.filename), file.bytes)]
        else:
            bucket, prefix = self._own_bucket(tenant_id, location, param)
            found = self._objects(bucket, prefix, location, param, most=self._limits.max_files + 1)
            wanted = [
                (bucket, stat.key, _relative(stat.key, prefix, param), stat.size_bytes)
                for stat in found
            ]
        self._check_size(wanted, param)
        budget = _Budget(self._limits.max_bytes, param)

        def bring(item: tuple[str, str, Path, int]) -> None:
            check()
            bucket, key, name, _ = item
            self._download(bucket, key, target / name, budget, param)

        with ThreadPoolExecutor(_DOWNLOADS, thread_name_prefix="fetch") as pool:
            # The first fault stops the rest: what is queued is not begun.
            waiting = [pool.submit(bring, item) for item in wanted]
            try:
                for done in waiting:
                    done.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return len(wanted)

    def _file(self, tenant_id: str, file_id: str, param: str) -> File:
        try:
            file = self._rows.get(tenant_id, file_id)
        except NotFound as error:
            raise NotFound(
                f"there is no file {file_id[:64]!r} of yours; upload it with "
                "POST /v1/files and purpose=fine-tune",
                param=param,
            ) from error
        if file.purpose is not Purpose.FINE_TUNE:
            raise InvalidRequest(
                f"file {file.id} was uploaded for {file.purpose.value!r}; upload it again with "
                "purpose=fine-tune",
                param=param,
            )
        return file

    def _own_bucket(self, tenant_id: str, location: str, param: str) -> tuple[str, str]:
        bucket, _, prefix = location.removeprefix("s3://").partition("/")
        if bucket != tenant_bucket(tenant_id):
            raise _nothing_there(location, param)
        return bucket, prefix.strip("/")

    def _objects(
        self, bucket: str, prefix: str, location: str, param: str, *, most: int
    ) -> list[ObjectStat]:
        """The object of that name, or those in the folder of that name, the first ``most``."""
        found: list[ObjectStat] = []
        try:
            if prefix and self._store.exists(bucket, prefix):
                return [self._store.stat(bucket, prefix)]
            for stat in self._store.list(bucket, f"{prefix}/" if prefix else ""):
                found.append(stat)
                if len(found) >= most:
                    break
        except (NotFound, InvalidRequest):
            found = []
        if not found:
            raise _nothing_there(location, param)
        return found

    def _check_size(self, wanted: list[tuple[str, str, Path, int]], param: str) -> None:
        limits = self._limits
        if len(wanted) > limits.max_files:
            raise PayloadTooLarge(
                f"the data set has more than {limits.max_files} files, the limit of a job; send a "
                "smaller one",
                param=param,
            )
        total = sum(size for *_, size in wanted)
        if total > limits.max_bytes:
            raise _too_many_bytes(limits.max_bytes, param)

    def _download(self, bucket: str, key: str, path: Path, budget: _Budget, param: str) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file, self._store.open(bucket, key) as chunks:
                for chunk in chunks:
                    budget.take(len(chunk))
                    file.write(chunk)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InvalidRequest(
                f"{path.name!r} is a file and a folder at once in the data set; rename one",
                param=param,
            ) from error
        except NotFound as error:
            raise NotFound(f"{key!r} was removed while the job read it", param=param) from error


class _Budget:
    """Bytes that may still come: an object may have grown since it was listed."""

    def __init__(self, max_bytes: int, param: str) -> None:
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._param = param

    def take(self, size_bytes: int) -> None:
        # Threads may each overrun by one chunk; that is bound enough.
        self._left -= size_bytes
        if self._left < 0:
            raise _too_many_bytes(self._max_bytes, self._param)


def _relative(key: str, prefix: str, param: str) -> Path:
    """The object's name below the folder, safe to write below another."""
    name = key.removeprefix(prefix).lstrip("/") if key != prefix else key.rpartition("/")[2]
    parts = name.split("/")
    if any(
        part in ("", ".", "..")
        or "\\" in part
        or "\0" in part
        or len(part.encode()) > _NAME_MAX_BYTES
        for part in parts
    ):
        raise InvalidRequest(
            f"object {key[:120]!r} has a name that is no file's; rename it", param=param
        )
    return Path(*parts)


def _nothing_there(location: str, param: str) -> NotFound:
    return NotFound(f"there is nothing at {location[:120]!r} in a bucket of yours", param=param)


def _too_many_bytes(max_bytes: int, param: str) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"the data set has more than {max_bytes} bytes, the limit of a job; send a smaller one",
        param=param,
    )
