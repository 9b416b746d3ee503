"""A tiny recipe and an object store in a folder, shared by tests and by the processes they kill."""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

from xingyue.catalog.spec import Catalog
from xingyue.contract import DatasetNote, DatasetReport, FitResult
from xingyue.errors import InvalidRequest, NotFound, PayloadTooLarge
from xingyue.storage.objects import ObjectStat, check_key

CATALOG = Catalog.model_validate(
    {
        "weights": {},
        "trunks": {"echo": {"family": "echo", "weights": {}}},
        "models": [
            {
                "id": "echo-qc",
                "industry": "tests",
                "task": "inspect",
                "trunk": "echo",
                "recipe": "echo",
                "price": {"unit": "image", "amount_micros": 1000},
                "licences": {
                    "code": "Apache-2.0",
                    "weights": "none",
                    "training_data": "none",
                    "commercial_use": True,
                },
                "card": {
                    "title": "Echo",
                    "title_zh": "回声",
                    "summary": "A double.",
                    "trained_on": "nothing",
                    "evaluated_on": "nothing",
                    "limits": "all",
                },
            },
        ],
    }
)


def pause(stage: str) -> None:
    """Say that ``stage`` was reached and, while a test wants it held, stay there."""
    folder = os.environ.get("TUNING_TEST_STAGES")
    if folder is None:
        return
    Path(folder, f"at-{stage}").touch()
    while Path(folder, f"hold-{stage}").exists():
        time.sleep(0.01)


class FolderStore:
    """``ObjectStore`` in a folder: what processes of one test share."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def ensure_bucket(self, bucket):
        (self.root / bucket).mkdir(parents=True, exist_ok=True)

    def put(self, bucket, key, data, *, media_type="application/octet-stream"):
        check_key(key)
        path = self._bucket(bucket) / key
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        draft.write_bytes(data)
        draft.replace(path)
        return self._stat(bucket, path)

    def put_stream(self, bucket, key, source, *, size_bytes=None, media_type=""):
        stat = self.put(bucket, key, source.read())
        if "/head/" in key:
            pause("upload")
        return stat

    def get(self, bucket, key, *, max_bytes):
        data = self._path(bucket, key).read_bytes()
        if len(data) > max_bytes:
            raise PayloadTooLarge("too large", param="key")
        return data

    @contextmanager
    def open(self, bucket, key):
        if not key.startswith("variants/"):
            pause("fetch")
        yield iter([self._path(bucket, key).read_bytes()])

    def stat(self, bucket, key):
        return self._stat(bucket, self._path(bucket, key))

    def exists(self, bucket, key):
        return (self.root / bucket / key).is_file()

    def list(self, bucket, prefix=""):
        folder = self._bucket(bucket)
        found = [path for path in folder.rglob("*") if path.is_file()]
        stats = [self._stat(bucket, path) for path in sorted(found)]
        return iter([stat for stat in stats if stat.key.startswith(prefix)])

    def delete(self, bucket, key):
        (self.root / bucket / key).unlink(missing_ok=True)

    def _bucket(self, bucket):
        folder = self.root / bucket
        if not folder.is_dir():
            raise NotFound(f"no bucket {bucket!r}", param="bucket")
        return folder

    def _path(self, bucket, key):
        check_key(key)
        path = self._bucket(bucket) / key
        if not path.is_file():
            raise NotFound(f"no object {key!r}", param="key")
        return path

    def _stat(self, bucket, path):
        status = path.stat()
        key = str(path.relative_to(self.root / bucket))
        moment = datetime.fromtimestamp(status.st_mtime, UTC)
        return ObjectStat(key, status.st_size, str(status.st_mtime_ns), moment)


class EchoRecipe:
    """Fits nothing: its head says what it was given. Hyper-parameters say how it goes:
    ``steps``, ``burn_s`` (compute of each step), ``step_s`` (wall time of each), ``parity``,
    ``fault`` (raise it), ``deaf`` (never listen to a stop)."""

    name = "echo"
    methods = {"supervised": "echoes", "one-class": "echoes good parts"}  # noqa: RUF012

    def __init__(self, cpu=None) -> None:
        self.cpu = cpu

    def evaluate(self, context):
        return []

    def validate(self, data, method, scratch):
        pause("validate")
        files = sorted(path for path in data.rglob("*") if path.is_file())
        if any(path.suffix == ".zip" for path in files):
            raise InvalidRequest("parts.zip is not a zip file; pack it again", param="data")
        digest = hashlib.sha256()
        for path in files:
            digest.update(str(path.relative_to(data)).encode() + path.read_bytes())
        notes = []
        if len(files) < 2:
            notes.append(DatasetNote("error", "too_few_samples", "2 files are needed, 1 is here"))
        if any("blur" in path.name for path in files):
            notes.append(DatasetNote("warning", "duplicates", "two files are alike", ("a.png",)))
        return DatasetReport(
            f"sha256:{digest.hexdigest()}", "echo", len(files), {"good": len(files)}, tuple(notes)
        )

    def fit(self, context):
        pause("fit")
        given = context.hyperparameters
        if given.get("fault"):
            raise {"ours": RuntimeError, "theirs": InvalidRequest}[given["fault"]]("it broke")
        steps = given.get("steps", 2)
        for step in range(1, steps + 1):
            if self.cpu is not None:
                self.cpu.s += given.get("burn_s", 0.5)
            elif given.get("burn_s"):
                until_s = time.process_time() + given["burn_s"]
                while time.process_time() < until_s:
                    pass
            time.sleep(given.get("step_s", 0.0))
            context.progress("fit", step, steps)
            if not given.get("deaf"):
                context.check()
        pause("fitted")
        head, report = context.out / "head", context.out / "report"
        head.mkdir()
        report.mkdir()
        content = json.dumps({"seed": context.seed, "base": context.base is not None}).encode()
        (head / "head.safetensors").write_bytes(content)
        files = {"head.safetensors": hashlib.sha256(content).hexdigest()}
        (head / "manifest.json").write_text(json.dumps({"family": "echo", "files": files}))
        (report / "report.json").write_text(json.dumps({"auroc": 0.99}))
        (report / "curve.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
        return FitResult(
            head=head,
            report=report,
            dataset=self.validate(context.data, context.method, context.scratch),
            metrics={"auroc": 0.99},
            parity=given.get("parity", 0.0),
            parity_max=1e-3,
        )


def fake_cpu():
    return SimpleNamespace(s=0.0)
