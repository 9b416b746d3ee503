"""A variant of the language model over HTTP: its own adapter, its own bill, the base's trunk."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from safetensors.numpy import save

from xingyue.variants.models import NewVersion
from xingyue_models.language_model.adapter import tensor_name, to_gguf

pytestmark = [pytest.mark.weights]

BASE = "pharma-assistant"


def hand_over(shop, tenant, suffix, seed):
    """A version whose adapter is random, and strong enough to change what is said."""
    shop.key(tenant)
    rng = np.random.default_rng(seed)
    tensors = {
        tensor_name(layer, "self_attn.o_proj", side): (rng.normal(size=shape) * 0.16).astype("f4")
        for layer in range(20, 24)
        for side, shape in (("A", (8, 896)), ("B", (896, 8)))
    }
    files = {
        "adapter_model.safetensors": save(tensors),
        "adapter.gguf": to_gguf(tensors, 8.0, "qwen2"),
    }
    catalog = shop.services.catalog
    trunk = catalog.trunks[catalog.entry(BASE).trunk]
    manifest = {
        "family": "language-model",
        "format_version": 1,
        "kind": "lora",
        "alpha": 8.0,
        "trunk": {"sha256": catalog.weights[trunk.weights["trunk"]].sha256},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    data = json.dumps(manifest).encode()
    prefix = f"variants/{tenant}/{suffix}/ftjob-{seed}"
    for name, content in {**files, "manifest.json": data}.items():
        shop.objects.put("xingyue", f"{prefix}/head/{name}", content)
    return shop.services.variants.store.add_version(
        NewVersion(
            tenant_id=tenant,
            suffix=suffix,
            base_model=BASE,
            base_version="1",
            parent=None,
            head_uri=f"s3://xingyue/{prefix}/head",
            head_digest=hashlib.sha256(data).hexdigest(),
            recipe="language-model",
            method="lora",
            job_id=f"ftjob-{seed}",
            dataset_digest="sha256:" + "0" * 64,
            hyperparameters={},
            seed=seed,
            metrics={},
            parity=0.0,
            parity_max=0.05,
            report_uri=f"s3://xingyue/{prefix}/report",
        )
    ).variant_id


def body(model, **more):
    words = "List three colours of a traffic light."
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": words}]
    return {"model": model, "messages": messages, "max_tokens": 12, "temperature": 0} | more


def test_variants_of_two_tenants_and_their_base_answer_apart(shop):
    models = {
        "mill": (BASE, hand_over(shop, "mill", "one", 1)),
        "yard": (BASE, hand_over(shop, "yard", "two", 2)),
    }

    def ask(tenant, model):
        answer = shop.call("POST", "/v1/chat/completions", tenant, json=body(model))
        assert answer.status_code == 200, answer.text
        told = answer.json()
        assert told["model"].partition("@")[0] == model
        return told["choices"][0]["message"]["content"], told["usage"]["total_tokens"]

    base, one, two = ask("mill", BASE), ask("mill", models["mill"][1]), ask("yard", "yard.two")
    assert len({base[0], one[0], two[0]}) == 3
    assert [ask("yard", "yard.two"), ask("yard", BASE), ask("mill", "mill.one")] == [two, base, one]

    streamed = shop.call(
        "POST", "/v1/chat/completions", "yard", json=body("yard.two", stream=True)
    ).text
    events = [line.removeprefix("data: ") for line in streamed.splitlines() if "{" in line]
    said = "".join(
        choice["delta"].get("content") or ""
        for event in events
        for choice in json.loads(event)["choices"]
    )
    assert said == two[0]

    billed = shop.call("GET", "/v1/usage", "yard").json()["data"]
    units = sum(each["units"] for each in billed if each["model"].startswith("yard.two"))
    assert units == 3 * two[1]

    # Another tenant's variant is not there.
    assert (
        shop.call("POST", "/v1/chat/completions", "mill", json=body("yard.two")).status_code == 404
    )
