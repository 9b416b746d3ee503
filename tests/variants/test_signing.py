"""The platform's signature: one key, made once, and what it catches."""

from __future__ import annotations

import threading

import pytest
from sqlalchemy import text

from xingyue.errors import IntegrityError, Internal
from xingyue.variants.signing import KEY_FILE, Signer, canonical


def test_the_key_is_made_once_for_its_owner_alone(tmp_path):
    signers = []
    threads = [
        threading.Thread(target=lambda: signers.append(Signer.open(tmp_path / "keys")))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({signer.key_id for signer in signers}) == 1
    assert [path.name for path in (tmp_path / "keys").iterdir()] == [KEY_FILE]
    assert (tmp_path / "keys" / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert Signer.open(tmp_path / "keys").key_id == signers[0].key_id


@pytest.mark.parametrize("content", ["", "not base64!", "YWJj", "\x00\xff"])
def test_a_damaged_key_is_no_reason_to_make_another(tmp_path, content):
    (tmp_path / KEY_FILE).write_text(content, encoding="latin-1")
    with pytest.raises(Internal, match="backup"):
        Signer.open(tmp_path)
    assert (tmp_path / KEY_FILE).read_text(encoding="latin-1") == content


def test_what_was_changed_does_not_pass(tmp_path, signer):
    facts = canonical({"version": "1", "digest": "ab"})
    signature = signer.sign(facts)
    signer.check(facts, signature, signer.key_id)
    other = Signer.open(tmp_path / "other")
    for changed in (
        (facts.replace("ab", "ac"), signature, signer.key_id),
        (facts, signer.sign("else"), signer.key_id),
        (facts, "", signer.key_id),
        (facts, "%%", signer.key_id),
        (facts, other.sign(facts), other.key_id),
        (facts, other.sign(facts), signer.key_id),
    ):
        with pytest.raises(IntegrityError) as caught:
            signer.check(*changed)
        assert caught.value.code == "artefact_tampered"


def test_facts_have_one_text():
    assert canonical({"b": 1, "a": [0.1, "备注"]}) == '{"a":[0.1,"备注"],"b":1}'
    for facts in ({"a": float("nan")}, {"a": {1, 2}}):
        with pytest.raises(Internal):
            canonical(facts)


TAMPERING = {
    "facts": "UPDATE variant_versions SET facts = replace(facts, 'abab', 'acac')",
    "metrics": "UPDATE variant_versions SET facts = replace(facts, '0.973', '0.999')",
    "signature": "UPDATE variant_versions SET signature = 'AAAA'",
    "key": "UPDATE variant_versions SET key_id = '0000000000000000'",
    "number": "UPDATE variant_versions SET version = '7'",
    "no JSON": "UPDATE variant_versions SET facts = 'x'",
}


@pytest.mark.parametrize("statement", TAMPERING.values(), ids=TAMPERING)
def test_a_tampered_row_is_told_apart(store, engine, make_new, statement):
    store.add_version(make_new())
    with engine.begin() as connection:
        connection.execute(text(statement))
    snapshot = store.get("acme.drum")
    assert snapshot.versions == {}
    assert len(snapshot.refused) == 1


def test_a_row_moved_to_another_variant_is_told_apart(store, engine, make_new):
    store.add_version(make_new())
    store.add_version(make_new(suffix="lamp"))
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE variant_versions SET version = '2' WHERE variant_id = 'acme.lamp'")
        )
        connection.execute(
            text(
                "UPDATE variant_versions SET variant_id = 'acme.lamp' "
                "WHERE variant_id = 'acme.drum'"
            )
        )
    assert "acme.drum@1" in store.get("acme.lamp").refused["1"]
