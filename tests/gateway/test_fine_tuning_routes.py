"""``/v1/fine_tuning/jobs`` by plain HTTP and by the OpenAI SDK as it is."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import openai
import pytest
from starlette.testclient import TestClient

from xingyue import tune_worker
from xingyue.clock import SystemClock
from xingyue.files.assembly import assemble
from xingyue.files.fakes import FakeIndexer
from xingyue.files.file_rows import FileRows
from xingyue.files.rules import Limits
from xingyue.finetune import bases
from xingyue.finetune.bases import Bases
from xingyue.finetune.service import FineTuning
from xingyue.finetune.sources import DataLimits, DataSources
from xingyue.finetune.worker import JobWorker
from xingyue.gateway.application import build_app
from xingyue.gateway.services import Services
from xingyue.jobs.store import JobStore
from xingyue.ledger.store import LedgerStore
from xingyue.serving.tuning_child import ChildConfig, S3Config
from xingyue.settings import Settings
from xingyue.storage.database import create_schema, open_engine
from xingyue.storage.memory import MemoryStore
from xingyue.tenants.directory import TenantDirectory
from xingyue.tenants.rate_limit import TenantLimiter
from xingyue.tenants.store import TenantStore
from xingyue.tenants.tenant import Scope
from xingyue.variants import assembly as variants_assembly

JOBS = "/v1/fine_tuning/jobs"
BODY = {"model": "echo-qc", "training_file": "s3://tenant-acme/parts", "suffix": "drum"}


def _doubles():
    if "tuning_doubles" not in sys.modules:
        path = Path(__file__).parents[1] / "jobs" / "tuning_doubles.py"
        spec = importlib.util.spec_from_file_location("tuning_doubles", path)
        module = importlib.util.module_from_spec(spec)
        sys.modules["tuning_doubles"] = module
        spec.loader.exec_module(module)
    return sys.modules["tuning_doubles"]


class Gateway:
    def __init__(self, home: Path) -> None:
        doubles = _doubles()
        url = f"sqlite:///{home / 'x.db'}"
        self.engine = open_engine(url)
        clock, limits = SystemClock(), Limits()
        self.objects = MemoryStore()
        for bucket in ("xingyue", "tenant-acme", "tenant-other"):
            self.objects.ensure_bucket(bucket)
        for name in ("good/a.png", "good/b.png"):
            self.objects.put("tenant-acme", f"parts/{name}", name.encode())
        files = assemble(self.engine, self.objects, "xingyue", FakeIndexer(), clock=clock)
        variants = variants_assembly.assemble(self.engine, home / "keys", clock=clock)
        create_schema(self.engine)
        self.store = JobStore(self.engine)
        self.tenants = TenantStore(self.engine)
        finetune = FineTuning(
            self.store,
            DataSources(
                FileRows(self.engine, limits), self.objects, "xingyue", DataLimits(10_000, 20)
            ),
            self.objects,
            Bases(doubles.CATALOG, variants.store),
            clock,
            price_micros_per_s=2_000,
            jobs_max=4,
        )
        parts = {field.name: None for field in dataclasses.fields(Services)}
        parts |= {
            "settings": Settings(),
            "catalog": doubles.CATALOG,
            "clock": clock,
            "tenants": self.tenants,
            "directory": TenantDirectory(self.tenants, clock=clock),
            "limiter": TenantLimiter(clock, gateways=1),
            "objects": self.objects,
            "files": files,
            "variants": variants,
            "finetune": finetune,
        }

        @asynccontextmanager
        async def services():
            yield Services(**parts)

        self.client = TestClient(build_app(services, body_max_bytes=1 << 20))
        self.config = ChildConfig(
            home=home,
            database_url=url,
            bucket="xingyue",
            s3=S3Config(endpoint="", access_key="", secret_key="", secure=False, region=""),
            catalog=doubles.CATALOG,
            allow_hub=False,
            threads=1,
            data_max_bytes=10_000,
            files_max=20,
            log_level="info",
        )
        LedgerStore(self.engine).top_up("acme", 10_000_000, "first")

    def key(self, tenant: str = "acme", *scopes: Scope, models=None) -> str:
        self.tenants.ensure_tenant(tenant, tenant)
        chosen = scopes or [Scope.TUNE, Scope.CALL]
        return self.tenants.issue_key(tenant, name="t", scopes=chosen, models=models)[1]

    def headers(self, *arguments, **named) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key(*arguments, **named)}"}

    def work(self) -> None:
        """Bring the next job to its end."""
        parts = tune_worker.worker_parts(self.config, self.engine, self.objects)
        job = self.store.claim_next(30)
        JobWorker(dataclasses.replace(parts, watch={"beat_s": 0.02})).run(job)


@pytest.fixture
def gateway(tmp_path, monkeypatch) -> Iterator[Gateway]:
    recipe = _doubles().EchoRecipe(SimpleNamespace(s=0.0))
    monkeypatch.setattr(bases, "load_recipe", lambda name: recipe)
    bases._load.cache_clear()
    made = Gateway(tmp_path)
    with made.client:
        yield made
    bases._load.cache_clear()
    made.engine.dispose()


@pytest.fixture
def sdk(gateway):
    return openai.OpenAI(
        base_url="http://testserver/v1",
        api_key=gateway.key(),
        http_client=gateway.client,
        max_retries=0,
    )


def test_the_openai_sdk_works_as_it_is(gateway, sdk):
    file = sdk.files.create(file=("parts.bin", b"parts"), purpose="fine-tune")
    method = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": "auto"}}}
    job = sdk.fine_tuning.jobs.create(
        model="echo-qc",
        training_file="s3://tenant-acme/parts",
        suffix="drum",
        method=method,
        seed=5,
        metadata={"line": "3"},
        extra_body={"budget_micros": 1_000_000},
    )
    assert (job.object, job.status, job.seed) == ("fine_tuning.job", "queued", 5)
    assert (job.fine_tuned_model, job.error, job.organization_id) == (None, None, "acme")
    other = sdk.fine_tuning.jobs.create(model="echo-qc", training_file=file.id)
    assert sdk.fine_tuning.jobs.cancel(other.id).status == "cancelled"
    gateway.work()
    done = sdk.fine_tuning.jobs.retrieve(job.id)
    assert (done.status, done.fine_tuned_model) == ("succeeded", "acme.drum")
    assert done.finished_at >= done.created_at
    assert done.usage["cost_micros"] == done.usage["compute_seconds"] * 2_000
    assert done.method.type == "supervised"
    events = sdk.fine_tuning.jobs.list_events(job.id, limit=2)
    assert events.data[0].message.startswith("The job has successfully completed")
    every = list(events)
    assert every[-1].message == f"Created fine-tuning job: {job.id}"
    assert len({event.id for event in every}) == len(every) > 4
    checkpoints = list(sdk.fine_tuning.jobs.checkpoints.list(job.id))
    assert [item.fine_tuned_model_checkpoint for item in checkpoints] == ["acme.drum@1"]
    assert [item.id for item in sdk.fine_tuning.jobs.list(limit=1)] == [other.id, job.id]
    assert [item.id for item in sdk.fine_tuning.jobs.list(metadata={"line": "3"})] == [job.id]
    assert [item.id for item in sdk.fine_tuning.jobs.list(extra_query={"metadata": "null"})] == [
        other.id
    ]


def test_sdk_errors_are_openais(gateway, sdk):
    with pytest.raises(openai.BadRequestError) as bad:
        sdk.fine_tuning.jobs.create(**BODY | {"suffix": "No"})
    assert (bad.value.param, bad.value.type) == ("suffix", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as missing:
        sdk.fine_tuning.jobs.retrieve("ftjob-none")
    assert missing.value.param == "fine_tuning_job_id"
    job = sdk.fine_tuning.jobs.create(**BODY)
    gateway.work()
    with pytest.raises(openai.ConflictError) as late:
        sdk.fine_tuning.jobs.cancel(job.id)
    assert late.value.code == "job_not_cancellable"


def test_scope_and_key_limits(gateway):
    client = gateway.client
    answer = client.post(JOBS, json=BODY, headers=gateway.headers("acme", Scope.CALL))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_scope")
    headers = gateway.headers("acme", Scope.TUNE, models=["another"])
    answer = client.post(JOBS, json=BODY, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "model_not_allowed")
    assert client.get(JOBS).status_code == 401


def test_another_tenants_job_is_not_there(gateway):
    client, mine = gateway.client, gateway.headers()
    job = client.post(JOBS, json=BODY, headers=mine).json()["id"]
    theirs = gateway.headers("other")
    for path in ("", "/events", "/checkpoints", "/report", "/report/curve.png"):
        assert client.get(f"{JOBS}/{job}{path}", headers=theirs).status_code == 404
    assert client.post(f"{JOBS}/{job}/cancel", headers=theirs).status_code == 404
    assert client.get(JOBS, headers=theirs).json()["data"] == []
    foreign = client.post(JOBS, json=BODY, headers=theirs)
    assert (foreign.status_code, foreign.json()["error"]["param"]) == (404, "training_file")


@pytest.mark.parametrize(
    ("content", "param"),
    [(b"", "body"), (b"[]", "body"), (b"{", "body"), (b"{}", "model"), (b'{"model":3}', "model")],
)
def test_bodies_that_are_no_requests(gateway, content, param):
    answer = gateway.client.post(JOBS, content=content, headers=gateway.headers())
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_an_idempotency_key_makes_one_job(gateway):
    headers = gateway.headers() | {"idempotency-key": "k1"}
    first = gateway.client.post(JOBS, json=BODY, headers=headers)
    again = gateway.client.post(JOBS, json=BODY, headers=headers)
    assert first.json() == again.json()
    assert "x-xingyue-replayed" not in first.headers
    assert again.headers["x-xingyue-replayed"] == "true"
    other = gateway.client.post(JOBS, json=BODY | {"seed": 1}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    assert len(gateway.client.get(JOBS, headers=headers).json()["data"]) == 1


def test_a_file_of_another_purpose_is_refused(gateway):
    headers = gateway.headers()
    form = {"purpose": "assistants"}
    file = gateway.client.post(
        "/v1/files", files={"file": ("a.txt", b"x")}, data=form, headers=headers
    ).json()
    answer = gateway.client.post(JOBS, json=BODY | {"training_file": file["id"]}, headers=headers)
    assert answer.status_code == 400
    assert "purpose=fine-tune" in answer.json()["error"]["message"]


def _stream(gateway, job, headers, **more):
    answer = gateway.client.get(f"{JOBS}/{job}/events?stream=true", headers=headers | more)
    assert answer.headers["content-type"].startswith("text/event-stream")
    frames = [frame for frame in answer.text.split("\n\n") if frame and not frame.startswith(":")]
    assert frames.pop() == "data: [DONE]"
    pairs = [frame.split("\n") for frame in frames]
    return [
        (int(number.removeprefix("id: ")), json.loads(data.removeprefix("data: ")))
        for number, data in pairs
    ]


def test_events_stream_until_the_end_and_resume(gateway):
    headers = gateway.headers()
    job = gateway.client.post(JOBS, json=BODY, headers=headers).json()["id"]
    worker = threading.Timer(0.5, gateway.work)
    worker.start()
    found = _stream(gateway, job, headers)
    worker.join()
    numbers = [number for number, _ in found]
    assert numbers == list(range(1, len(found) + 1))
    assert found[-1][1]["message"].startswith("The job has successfully completed")
    assert any(event["data"].get("stage") == "fit" for _, event in found)
    rest = _stream(gateway, job, headers, **{"last-event-id": "3"})
    assert [number for number, _ in rest] == numbers[3:]
    bad = gateway.client.get(
        f"{JOBS}/{job}/events?stream=true", headers=headers | {"last-event-id": "x"}
    )
    assert bad.status_code == 400


def test_the_report_and_its_pictures(gateway):
    client, headers = gateway.client, gateway.headers()
    job = client.post(JOBS, json=BODY, headers=headers).json()["id"]
    early = client.get(f"{JOBS}/{job}/report", headers=headers)
    assert (early.status_code, "is queued" in early.json()["error"]["message"]) == (404, True)
    gateway.work()
    assert client.get(f"{JOBS}/{job}/report", headers=headers).json() == {
        "auroc": 0.99,
        "pictures": ["curve.png"],
    }
    picture = client.get(f"{JOBS}/{job}/report/curve.png", headers=headers)
    assert picture.headers["content-type"] == "image/png"
    for name in ("none", "..%2Fhead%2Fmanifest", "..%2F..%2Fx"):
        answer = client.get(f"{JOBS}/{job}/report/{name}.png", headers=headers)
        assert answer.status_code == 404


def test_pages_and_cursors(gateway):
    client, headers = gateway.client, gateway.headers()
    ids = [
        client.post(JOBS, json=BODY | {"suffix": f"s{number}"}, headers=headers).json()["id"]
        for number in range(4)
    ]
    page = client.get(f"{JOBS}?limit=3", headers=headers).json()
    assert ([item["id"] for item in page["data"]], page["has_more"]) == (ids[:0:-1], True)
    rest = client.get(f"{JOBS}?limit=3&after={page['last_id']}", headers=headers).json()
    assert ([item["id"] for item in rest["data"]], rest["has_more"]) == (ids[:1], False)
    for query in ("limit=0", "limit=101", "limit=x", "after=ftjob-none"):
        assert client.get(f"{JOBS}?{query}", headers=headers).status_code == 400
    full = client.post(JOBS, json=BODY, headers=headers)
    assert (full.status_code, full.json()["error"]["code"]) == (429, "too_many_jobs")
    assert full.headers["retry-after"] == "10"
