"""A variant of the embedding model at the gateway: vectors of either side, a store searched by it,
document QA by it, what it costs, what is refused. The trunks are real where marked."""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from xingyue import tune_worker
from xingyue.app import weight_store
from xingyue.finetune.worker import JobWorker
from xingyue.serving.tuning_child import ChildConfig
from xingyue.settings import Settings
from xingyue.storage.s3 import S3Access
from xingyue.variants.models import NewVersion

ROOT = Path(__file__).parents[2]

FILES = {
    "night.txt": "After ten the east door is closed. Visitors wait at the gate.",
    "store.txt": "Aspirin tablets are kept in a locked cabinet below 25 degrees.",
}
QUESTION = "Where are aspirin tablets kept?"


def hand_over(shop, tenant, suffix, tensors, weight=0.9):
    """A version as a job hands it over."""
    shop.key(tenant)
    data = save(tensors)
    manifest = {
        "family": "text-embedding",
        "format_version": 1,
        "kind": "query-map",
        "cosine_weight": weight,
        "files": {"head.safetensors": hashlib.sha256(data).hexdigest()},
        "nonce": uuid.uuid4().hex,
    }
    text = json.dumps(manifest).encode()
    job_id = f"ftjob-{uuid.uuid4().hex}"
    prefix = f"variants/{tenant}/{suffix}/{job_id}"
    shop.objects.put("xingyue", f"{prefix}/head/head.safetensors", data)
    shop.objects.put("xingyue", f"{prefix}/head/manifest.json", text)
    return shop.services.variants.store.add_version(
        NewVersion(
            tenant_id=tenant, suffix=suffix, base_model="pharma-embedding", base_version="1",
            parent=None, head_uri=f"s3://xingyue/{prefix}/head",
            head_digest=hashlib.sha256(text).hexdigest(), recipe="retrieval", method="pairs",
            job_id=job_id, dataset_digest="sha256:" + "0" * 64, hyperparameters={}, seed=7,
            metrics={}, parity=0.0, parity_max=1e-3, report_uri=f"s3://xingyue/{prefix}/report",
        )
    )  # fmt: skip


def towards(source, target):
    """Moves ``source`` onto ``target``, both of unit length."""
    down = np.asarray(source, np.float32)[:, None]
    up = (np.asarray(target, np.float32) - np.asarray(source, np.float32))[None]
    return {"down": down, "up": up}


def identity():
    return {"down": np.zeros((512, 1), np.float32), "up": np.zeros((1, 512), np.float32)}


def vector(shop, text, model="pharma-embedding", **more):
    body = {"model": model, "input": text} | more
    answer = shop.call("POST", "/v1/embeddings", "lab", json=body)
    assert answer.status_code == 200, answer.text
    return np.array(answer.json()["data"][0]["embedding"])


@pytest.fixture
def store(shop):
    ids = []
    for name, text in FILES.items():
        sent = {"files": {"file": (name, text.encode(), "text/plain")}}
        made = shop.call("POST", "/v1/files", "lab", data={"purpose": "assistants"}, **sent)
        ids.append(made.json()["id"])
    made = shop.call("POST", "/v1/vector_stores", "lab", json={"file_ids": ids}).json()
    path = f"/v1/vector_stores/{made['id']}"
    for _ in range(300):
        if shop.call("GET", path, "lab").json()["file_counts"]["completed"] == len(ids):
            return path
        time.sleep(0.1)
    raise AssertionError("the files were not indexed")


@pytest.mark.weights
def test_vectors_of_either_side(shop):
    plain, target = vector(shop, QUESTION), vector(shop, FILES["night.txt"])
    hand_over(shop, "lab", "sop", towards(plain, target))
    moved = vector(shop, QUESTION, "lab.sop", input_type="query")
    assert moved @ target > 0.9 > plain @ target
    kept = vector(shop, QUESTION, "lab.sop", input_type="document")
    assert kept == pytest.approx(plain, abs=1e-6)
    body = {"model": "lab.sop", "input": QUESTION}
    refused = shop.call("POST", "/v1/embeddings", "lab", json=body)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input_type")
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [QUESTION]}
    body = {"inputs": [tensor], "parameters": {"input_type": "query"}}
    answer = shop.call("POST", "/v2/models/lab.sop/infer", "lab", json=body).json()
    assert np.array(answer["outputs"][0]["data"]) == pytest.approx(moved, abs=1e-5)


@pytest.mark.weights
def test_a_store_as_it_lies_is_searched_by_a_variant(shop, store):
    def found(**more):
        answer = shop.call("POST", f"{store}/search", "lab", json={"query": QUESTION} | more)
        assert answer.status_code == 200, answer.text
        return answer, [hit["filename"] for hit in answer.json()["data"]]

    target = vector(shop, FILES["night.txt"])
    hand_over(shop, "lab", "sop", towards(vector(shop, QUESTION), target), weight=1.0)
    base, names = found()
    assert names == ["store.txt", "night.txt"]
    tuned, names = found(model="lab.sop")
    assert names == ["night.txt", "store.txt"]
    assert tuned.headers["x-xingyue-model"] == "lab.sop@1"
    cost = "x-xingyue-cost-micros"
    assert tuned.headers[cost] == base.headers[cost] > "0"
    assert found(model="pharma-embedding")[1] == ["store.txt", "night.txt"]
    bills = shop.call("GET", "/v1/usage/events", "lab").json()
    assert [bill["data"]["model"] for bill in bills[-3:]] == [
        "pharma-embedding", "lab.sop", "pharma-embedding"
    ]  # fmt: skip


def run_next_job(services, objects):
    """The job that waits, brought to its end in this process by a real worker."""
    settings = Settings(home=ROOT / ".xingyue", catalog=ROOT / "catalog.yaml", _env_file=None)
    weights = weight_store(settings.resolved(), services.catalog)
    access = S3Access.external("127.0.0.1:1", "key", "secret", False)
    config = ChildConfig.of(services.settings, services.catalog, access)
    parts = tune_worker.worker_parts(config, services.engine, objects)
    claimed = parts.store.claim_next(60)
    JobWorker(replace(parts, weight=lambda name: weights.ensure(name, lambda *_: None))).run(
        claimed
    )


@pytest.mark.weights
def test_from_pairs_through_a_job_to_a_search(shop, store):
    things = ("tablets", "pens", "steriliser", "syrup", "filler", "vials", "scale", "water", "foil")
    told = ("where to keep the {}|The {} stay in a dry place.",
            "who signs for the {}|Quality assurance answers for the {}.",
            "how often to look at the {}|Each Monday the {} are inspected.",
            "what if the {} fail|Faults of the {} are reported in a day.")  # fmt: skip
    lines = []
    for thing in things:
        for pair in told:
            query, positive = pair.format(thing, thing).split("|")
            lines.append(json.dumps({"query": query, "positive": positive, "group": thing}))
    sent = {"files": {"file": ("pairs.jsonl", "\n".join(lines).encode(), "application/jsonl")}}
    file = shop.call("POST", "/v1/files", "lab", data={"purpose": "fine-tune"}, **sent).json()
    settings = {"steps": 20, "regularisation": 0.1}
    job = shop.call(
        "POST",
        "/v1/fine_tuning/jobs",
        "lab",
        json={
            "model": "pharma-embedding",
            "training_file": file["id"],
            "suffix": "plant",
            "seed": 7,
            "method": {"type": "pairs", "pairs": {"hyperparameters": settings}},
        },
    ).json()
    run_next_job(shop.services, shop.objects)
    path = f"/v1/fine_tuning/jobs/{job['id']}"
    done = shop.call("GET", path, "lab").json()
    assert (done["status"], done["fine_tuned_model"]) == ("succeeded", "lab.plant"), done
    report = shop.call("GET", f"{path}/report", "lab").json()
    assert report["metrics"]["held_out_questions"] == 8
    assert report["pictures"] == ["gains.png", "worst.png"]
    found = shop.call(
        "POST", f"{store}/search", "lab", json={"query": QUESTION, "model": "lab.plant"}
    )
    assert found.json()["data"][0]["filename"] == "store.txt"
    assert found.headers["x-xingyue-model"] == "lab.plant@1"


@pytest.mark.weights
def test_document_qa_searches_by_a_variant(shop, store):
    hand_over(shop, "lab", "sop", identity())
    body = {
        "model": "pharma-doc-qa",
        "vector_store_ids": [store.rpartition("/")[2]],
        "messages": [{"role": "user", "content": QUESTION}],
    }
    answer = shop.call(
        "POST", "/v1/chat/completions", "lab", json=body | {"embedding_model": "lab.sop"}
    )
    assert answer.status_code == 200, answer.text
    plain = shop.call("POST", "/v1/chat/completions", "lab", json=body)
    said, told = (each.json()["choices"][0]["message"] for each in (answer, plain))
    assert said["grounded"]
    assert said == told
    cost = "x-xingyue-cost-micros"
    assert answer.headers[cost] == plain.headers[cost]


@pytest.mark.weights
def test_another_vendors_variant_is_not_free_in_document_qa(shop, store):
    hand_over(shop, "rival", "sop", identity())
    price = {"unit": "token", "amount_micros": 9000, "per": 1000}
    body = {"visibility": "listed", "price": price}
    listed = shop.call("POST", "/v1/variants/rival.sop/publish", "rival", json=body)
    assert listed.status_code == 200, listed.text
    body = {
        "model": "pharma-doc-qa",
        "vector_store_ids": [store.rpartition("/")[2]],
        "messages": [{"role": "user", "content": QUESTION}],
        "embedding_model": "rival.sop",
    }
    refused = shop.call("POST", "/v1/chat/completions", "lab", json=body)
    assert refused.status_code == 400
    assert "variants of your own" in refused.json()["error"]["message"]
    assert shop.call("GET", "/v1/usage/events", "lab").json() == []
    found = shop.call("POST", f"{store}/search", "lab", json={"query": "x", "model": "rival.sop"})
    assert int(found.headers["x-xingyue-cost-micros"]) > 0


@pytest.mark.parametrize(
    ("model", "status", "words"),
    [
        ("lab.unknown", 404, "there is no model"),
        ("appliance-surface-qc", 400, "no variant of pharma-embedding"),
        ("rival.sop", 404, "there is no model"),
    ],
)
def test_models_that_no_store_is_searched_with(world, model, status, words):
    world.fit("rival", "sop")
    made = world.call("POST", "/v1/vector_stores", "lab", json={}).json()
    path = f"/v1/vector_stores/{made['id']}/search"
    answer = world.call("POST", path, "lab", json={"query": "x", "model": model})
    assert answer.status_code == status
    assert words in answer.json()["error"]["message"]
    assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    ("model", "given", "words"),
    [
        ("pharma-assistant", "lab.sop", "searches no documents"),
        ("pharma-doc-qa", 7, "must be the id of a variant"),
    ],
    ids=["no-search", "number"],
)
def test_an_embedding_model_where_none_fits(world, model, given, words):
    body = {
        "model": model,
        "messages": [{"role": "user", "content": "x"}],
        "vector_store_ids": ["vs_x"],
        "embedding_model": given,
    }
    answer = world.call("POST", "/v1/chat/completions", "lab", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "embedding_model")
    assert words in answer.json()["error"]["message"]


def test_a_model_of_parts_names_what_can_be_tuned(world):
    file = {"file": ("pairs.jsonl", b"{}", "application/jsonl")}
    sent = world.call("POST", "/v1/files", "lab", files=file, data={"purpose": "fine-tune"}).json()
    body = {"model": "pharma-doc-qa", "training_file": sent["id"], "suffix": "sop"}
    answer = world.call("POST", "/v1/fine_tuning/jobs", "lab", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "model_not_tunable")
    assert "fine-tune pharma-embedding" in answer.json()["error"]["message"]
    body["model"] = "pharma-embedding"
    answer = world.call("POST", "/v1/fine_tuning/jobs", "lab", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["method"]["type"] == "supervised"
