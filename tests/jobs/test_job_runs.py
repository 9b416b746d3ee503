"""A job from its request to its version, in this process."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from xingyue.errors import Conflict, InvalidRequest, NotFound, Overloaded, RateLimited
from xingyue.finetune.watch import EX_TEMPFAIL
from xingyue.jobs.models import JobStatus
from xingyue.jobs.store import RequestKey
from xingyue.ledger.audit import trial_balance
from xingyue.ledger.journal import Journal
from xingyue.storage.database import begin_write
from xingyue.vouchers.models import Conditions, NewVoucher
from xingyue.vouchers.store import VoucherStore

PRICE = 2_000


def test_a_job_becomes_a_callable_version(world):
    job = world.create(seed=7)
    assert (job.status, world.woken) == (JobStatus.QUEUED, 1)
    done = world.run(job)
    assert (done.status, done.version, done.error) == (JobStatus.SUCCEEDED, "1", None)
    assert done.claim is None
    snapshot = world.variants.get("acme.drum")
    facts = snapshot.versions["1"].facts
    assert snapshot.variant.route.stable == "1"
    assert (facts.job_id, facts.seed, facts.dataset_digest) == (job.id, 7, done.dataset_digest)
    assert facts.head_uri == f"s3://xingyue/variants/acme/drum/{job.id}/head"
    assert {key.rpartition("/")[2] for key in world.artefacts()} == {
        "manifest.json",
        "head.safetensors",
        "report.json",
        "curve.png",
    }
    assert world.service.report("acme", job.id) == {"auroc": 0.99, "pictures": ["curve.png"]}
    assert world.service.report_picture("acme", job.id, "curve").startswith(b"\x89PNG")
    assert world.leftovers() == []
    words = world.messages(job)
    assert words[0] == f"Created fine-tuning job: {job.id}"
    assert words[-2:] == [
        "New fine-tuned model created: acme.drum@1",
        "The job has successfully completed: 1 s of compute, ¥0.002",
    ]
    assert "fit: 2/2" in words


def test_compute_is_billed_in_slices_and_by_the_second(world):
    job = world.create(hyperparameters={"steps": 9, "burn_s": 3.1, "step_s": 0.05})
    done = world.run(job)
    charges = world.charges(job)
    # 27.9 s: two whole slices and the rest of a third, rounded up to a second.
    assert [event.units for event in charges] == [10, 10, 8]
    assert {event.unit for event in charges} == {"compute-second"}
    assert {(event.kind, event.model) for event in charges} == {("tune", "echo-qc")}
    assert done.compute_s == 28
    assert done.cost_micros == sum(event.cost_micros for event in charges) == 28 * PRICE
    assert world.ledger.balance("acme").available_micros == 10_000_000 - 28 * PRICE


@pytest.mark.parametrize(
    ("device", "wall_s_per_cpu_s", "seconds"),
    [("cpu", 3, 28), ("cuda", 3, 84), ("cuda:1", 3, 84), ("cuda", 0.3, 28)],
)
def test_a_device_of_its_own_is_charged_while_it_is_reserved(
    world, device, wall_s_per_cpu_s, seconds
):
    trunks = {name: spec.model_copy(update={"device": device})
              for name, spec in world.catalog.trunks.items()}  # fmt: skip
    catalog = world.catalog.model_copy(update={"trunks": trunks})
    world.config = world.config.model_copy(update={"catalog": catalog})
    job = world.create(hyperparameters={"steps": 9, "burn_s": 3.1})
    # 27.9 s of processor time, and so many times that by the clock.
    done = world.run(job, wall_s=lambda: world.cpu.s * wall_s_per_cpu_s)
    assert (done.status, done.compute_s) == (JobStatus.SUCCEEDED, seconds)
    assert sum(event.cost_micros for event in world.charges(job)) == seconds * PRICE


def _voucher(world, code, amount, **conditions):
    store, now = VoucherStore(world.engine, clock=world.clock), world.clock.now()
    until = now + timedelta(days=30)
    (voucher,), _ = store.issue([NewVoucher(code, amount, Conditions(now, until, **conditions))])
    store.assign(voucher.code, "acme")
    return voucher.id


@pytest.mark.parametrize(
    ("conditions", "by_voucher"),
    [
        ({}, 28 * PRICE),
        ({"models": frozenset({"echo-qc"}), "share_percent": 50}, 14 * PRICE),
        ({"industries": frozenset({"tests"})}, 28 * PRICE),
        ({"models": frozenset({"another"})}, 0),
        ({"industries": frozenset({"lighting"})}, 0),
    ],
    ids=["any", "half-of-the-model", "industry", "another-model", "another-industry"],
)
def test_vouchers_pay_for_compute_as_for_calls(world, conditions, by_voucher):
    voucher_id = _voucher(world, "V-1", 1_000_000, **conditions)
    job = world.create(hyperparameters={"steps": 9, "burn_s": 3.1, "step_s": 0.05})
    done = world.run(job)
    assert (done.status, done.compute_s) == (JobStatus.SUCCEEDED, 28)
    balances = trial_balance(world.engine).by_account
    assert balances[f"voucher:{voucher_id}:balance"] == 1_000_000 - by_voucher
    assert world.ledger.balance("acme").available_micros == 10_000_000 - 28 * PRICE + by_voucher


def test_a_tenant_without_cash_fits_until_its_voucher_is_used_up(world):
    _voucher(world, "V-1", 15 * PRICE)
    with begin_write(world.engine) as connection:
        # All its cash is gone.
        journal = Journal(connection, world.clock.now())
        journal.transfer("tenant:acme:cash", "platform:revenue", 10_000_000, "adjustment")
        journal.flush()
    done = world.run(world.create(hyperparameters={"steps": 40, "burn_s": 1, "step_s": 0.05}))
    assert (done.status, done.error.code) == (JobStatus.FAILED, "insufficient_quota")
    assert done.compute_s == 15


def test_a_variant_is_a_base_and_its_lineage_is_kept(world):
    world.run(world.create())
    second = world.create(model="acme.drum", suffix="drum-2")
    assert (second.base_model, second.parent) == ("echo-qc", "acme.drum@1")
    done = world.run(second)
    assert done.status is JobStatus.SUCCEEDED
    assert world.variants.get("acme.drum-2").versions["1"].facts.parent == "acme.drum@1"
    again = world.run(world.create(model="acme.drum@latest"))
    assert again.version == "2"
    with pytest.raises(NotFound) as error:
        world.create(tenant="other", model="acme.drum")
    assert error.value.code == "model_not_found"


def test_validation_is_free_and_its_words_are_the_fault(world):
    world.objects.put("tenant-acme", "one/a.png", b"1")
    job = world.run(world.create(training_file="s3://tenant-acme/one"))
    assert job.status is JobStatus.FAILED
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert job.error.message == "2 files are needed, 1 is here."
    assert (job.compute_s, world.charges(job), world.artefacts()) == (0, [], [])
    assert world.leftovers() == []


def test_a_corrupt_zip_is_told_by_the_field(world):
    world.objects.put("tenant-acme", "parts.zip", b"PK nothing")
    job = world.run(world.create(training_file="s3://tenant-acme/parts.zip"))
    assert (job.error.code, job.error.param) == ("invalid_training_file", "training_file")
    assert "not a zip" in job.error.message


def test_validation_file_is_judged_too(world):
    world.objects.put("tenant-acme", "one/a.png", b"1")
    job = world.run(world.create(validation_file="s3://tenant-acme/one"))
    assert (job.error.code, job.error.param) == ("invalid_validation_file", "validation_file")


def test_a_fault_of_ours_says_little_and_the_open_slice_is_free(world):
    job = world.run(world.create(hyperparameters={"fault": "ours"}))
    assert (job.status, job.error.code) == (JobStatus.FAILED, "server_error")
    assert "it broke" not in job.error.message
    assert (world.charges(job), world.artefacts()) == ([], [])


def test_a_fault_of_theirs_says_what(world):
    job = world.run(world.create(hyperparameters={"fault": "theirs"}))
    assert job.error.message == "it broke"


@pytest.mark.parametrize("parity", [0.5, float("nan"), -1.0], ids=["far", "nan", "negative"])
def test_parity_beyond_its_tolerance_is_not_published(world, parity):
    job = world.create()
    world.recipe.fit = _with_parity(world.recipe.fit, parity)
    done = world.run(job)
    assert (done.status, done.error.code) == (JobStatus.FAILED, "parity_failed")
    assert world.variants.get("acme.drum") is None
    assert world.artefacts() == []
    # The fit was done, so its compute is paid.
    assert done.compute_s == 1


def _with_parity(fit, parity):
    return lambda context: replace(fit(context), parity=parity)


def test_a_version_that_is_refused_leaves_nothing(world):
    job = world.create()
    claimed = world.store.claim_next(30)
    worker = world.worker()

    def refuse(outcome):
        raise Conflict("no", code="base_differs", param="suffix")

    worker._parts = replace(worker._parts, publish=refuse)
    worker.run(claimed)
    done = world.store.find(job.id)
    assert (done.status, done.error.code) == (JobStatus.FAILED, "base_differs")
    assert (done.outcome, world.artefacts()) == (None, [])


def test_no_credit_ends_the_job_after_what_was_used_is_billed(world):
    world.ledger.top_up("other", 13 * PRICE, "little")
    for name in ("a", "b"):
        world.objects.put("tenant-other", f"parts/{name}.png", b"1")
    job = world.create(tenant="other", hyperparameters={"steps": 200, "burn_s": 1, "step_s": 0.03})
    done = world.run(job)
    assert (done.status, done.error.code) == (JobStatus.FAILED, "insufficient_quota")
    assert [event.units for event in world.charges(job)] == [10, 1, 1, 1]
    assert world.ledger.balance("other").available_micros == 0
    assert world.variants.get("other.drum") is None
    assert world.artefacts() == []


def test_without_any_credit_nothing_is_fitted(world):
    for name in ("a", "b"):
        world.objects.put("tenant-other", f"parts/{name}.png", b"1")
    done = world.run(world.create(tenant="other"))
    assert (done.error.code, done.compute_s, world.cpu.s) == ("insufficient_quota", 0, 0)


def test_a_budget_is_never_passed(world):
    job = world.create(
        budget_micros=12 * PRICE + 1, hyperparameters={"steps": 200, "burn_s": 1, "step_s": 0.03}
    )
    done = world.run(job)
    assert (done.status, done.error.code) == (JobStatus.FAILED, "budget_exceeded")
    assert done.error.param == "budget_micros"
    assert [event.units for event in world.charges(job)] == [10, 2]


def test_limits_of_the_data_are_told_before_it_is_read(world):
    for number in range(21):
        world.objects.put("tenant-acme", f"many/{number}.png", b"1")
    job = world.run(world.create(training_file="s3://tenant-acme/many"))
    assert (job.error.code, job.error.param) == ("payload_too_large", "training_file")
    for number in range(3):
        world.objects.put("tenant-acme", f"big/{number}.png", b"1" * 5_000)
    job = world.run(world.create(training_file="s3://tenant-acme/big"))
    assert "10000 bytes" in job.error.message


def test_names_that_are_no_files_are_refused(world):
    world.objects.put("tenant-acme", "odd/" + "x" * 200 + "\\..\\a.png", b"1")
    job = world.run(world.create(training_file="s3://tenant-acme/odd"))
    assert "rename it" in job.error.message


def test_a_recipe_that_does_not_listen_is_ended_with_its_process(world):
    job = world.create(hyperparameters={"steps": 40, "step_s": 0.02, "deaf": True})
    ended = []
    threading.Timer(0.2, world.store.cancel, ("acme", job.id)).start()
    done = world.run(job, grace_s=0.1, die=ended.append)
    assert ended
    assert set(ended) == {EX_TEMPFAIL}
    # Had it lived on all the same, it still would have published nothing.
    assert (done.status, world.artefacts()) == (JobStatus.CANCELLED, [])
    assert world.variants.get("acme.drum") is None


def test_what_may_pass_by_itself_is_tried_again(world):
    job = world.create()
    claimed = world.store.claim_next(30)
    worker = world.worker()

    def away(outcome):
        raise Overloaded("the store does not answer")

    worker._parts = replace(worker._parts, publish=away)
    with pytest.raises(Overloaded):
        worker.run(claimed)
    waiting = world.store.find(job.id)
    assert (waiting.status, waiting.claim) == (JobStatus.RUNNING, claimed.claim)
    assert world.leftovers() == []
    world.store.lose(job.id, claimed.claim)
    fits = world.cpu.s
    done = world.run(job)
    assert (done.status, done.version, done.attempt) == (JobStatus.SUCCEEDED, "1", 2)
    # It went on from what was stored: nothing was fitted again.
    assert world.cpu.s == fits


REFUSED = [
    ({"model": "nobody"}, NotFound, "model", "model_not_found"),
    ({"model": ""}, InvalidRequest, "model", "invalid_request"),
    ({"model": "echo-qc@9"}, NotFound, "model", "model_not_found"),
    ({"training_file": "s3://tenant-other/parts"}, NotFound, "training_file", "not_found"),
    ({"training_file": "s3://tenant-acme/nothing"}, NotFound, "training_file", "not_found"),
    ({"training_file": "s3://tenant-acme/par"}, NotFound, "training_file", "not_found"),
    ({"training_file": "s3://xingyue/variants"}, NotFound, "training_file", "not_found"),
    ({"training_file": "file-0"}, NotFound, "training_file", "not_found"),
    ({"training_file": "/etc/passwd"}, InvalidRequest, "training_file", "invalid_request"),
    ({"validation_file": "s3://tenant-other/parts"}, NotFound, "validation_file", "not_found"),
    ({"suffix": "No Caps"}, InvalidRequest, "suffix", "invalid_request"),
    ({"suffix": "-edge"}, InvalidRequest, "suffix", "invalid_request"),
    ({"suffix": "x" * 41}, InvalidRequest, "suffix", "invalid_request"),
    ({"seed": -1}, InvalidRequest, "seed", "invalid_request"),
    ({"seed": True}, InvalidRequest, "seed", "invalid_request"),
    ({"budget_micros": 0}, InvalidRequest, "budget_micros", "invalid_request"),
    ({"metadata": {"a": 1}}, InvalidRequest, "metadata", "invalid_request"),
    ({"budget_micro": 5}, InvalidRequest, "budget_micro", "invalid_request"),
    ({"integrations": [{}]}, InvalidRequest, "integrations", "invalid_request"),
    ({"method": "supervised"}, InvalidRequest, "method", "invalid_request"),
    ({"method": {"type": "dpo"}}, InvalidRequest, "method.type", "invalid_request"),
    (
        {"method": {"type": "supervised", "one-class": {}}},
        InvalidRequest,
        "method.one-class",
        "invalid_request",
    ),
    (
        {"method": {"type": "supervised", "supervised": {"hyperparameters": [1]}}},
        InvalidRequest,
        "method.supervised.hyperparameters",
        "invalid_request",
    ),
]


@pytest.mark.parametrize(
    ("fields", "kind", "param", "code"), REFUSED, ids=lambda value: str(value)[:48]
)
def test_requests_are_refused_by_the_field(world, fields, kind, param, code):
    with pytest.raises(kind) as error:
        world.create(**fields)
    assert (error.value.param, error.value.code) == (param, code)
    assert world.store.page("acme") == ([], False)


def test_another_tenants_bucket_looks_as_a_missing_one(world):
    with pytest.raises(NotFound) as foreign:
        world.create(training_file="s3://tenant-other/parts")
    with pytest.raises(NotFound) as missing:
        world.create(training_file="s3://tenant-acme/nobody")
    assert foreign.value.message.replace("tenant-other/parts", "X") == (
        missing.value.message.replace("tenant-acme/nobody", "X")
    )


def test_a_name_of_another_base_is_refused_before_any_compute(world):
    world.run(world.create())
    facts = world.variants.get("acme.drum").versions["1"].facts
    other = replace(facts, suffix="taken", base_model="other-qc", job_id="ftjob-x")
    world.variants.add_version(other)
    with pytest.raises(Conflict) as error:
        world.create(suffix="taken")
    assert error.value.code == "base_differs"


def test_jobs_at_once_are_bounded(world):
    for number in range(4):
        world.create(suffix=f"s{number}")
    with pytest.raises(RateLimited) as error:
        world.create(suffix="s4")
    assert error.value.code == "too_many_jobs"


def test_a_suffix_is_made_where_none_is_given(world):
    job = world.create(suffix=None)
    assert job.suffix == f"echo-qc-{job.id[6:12]}"


def test_auto_hyperparameters_are_left_to_the_recipe(world):
    job = world.create(hyperparameters={"n_epochs": "auto", "steps": 1})
    assert job.hyperparameters == {"steps": 1}


def test_one_key_makes_one_job(world):
    body = {"model": "echo-qc", "training_file": "s3://tenant-acme/parts", "suffix": "drum"}
    key = RequestKey("k1", "a" * 64)
    first, new = world.service.create("acme", "key_1", body, key)
    again, newer = world.service.create("acme", "key_1", body, key)
    assert (first.id, new, newer) == (again.id, True, False)
    with pytest.raises(Conflict) as error:
        world.service.create("acme", "key_1", body, RequestKey("k1", "b" * 64))
    assert error.value.code == "idempotency_key_reused"
