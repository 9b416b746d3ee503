"""Keys, hashes and kept answers: pure."""

from __future__ import annotations

import os

import pytest

from xingyue.errors import InvalidRequest
from xingyue.ledger.idempotency import Idempotency, StoredResponse, pack, unpack


def of(key="k", method="POST", path="/v1/x", body=b"body"):
    return Idempotency.of(key, method=method, path=path, body=body)


@pytest.mark.parametrize(
    "change",
    [{"method": "PUT"}, {"path": "/v1/y"}, {"path": "/v1/x?heatmap=1"}, {"body": b"other"}],
    ids=str,
)
def test_another_request_has_another_hash(change):
    assert of(**change).request_hash != of().request_hash


def test_parts_cannot_run_into_each_other():
    assert of(path="/a", body=b"b").request_hash != of(path="/ab", body=b"").request_hash


def test_the_method_is_case_blind_and_the_key_not_part_of_the_hash():
    assert of(key="other", method="post").request_hash == of().request_hash


@pytest.mark.parametrize("key", ["", "a b", "é", "a\n", "x" * 256], ids=repr)
def test_a_key_that_cannot_be_a_header_is_refused(key):
    with pytest.raises(InvalidRequest) as caught:
        of(key=key)
    assert caught.value.param == "Idempotency-Key"


def test_an_answer_comes_back_byte_for_byte():
    response = StoredResponse(200, (("content-type", "image/png"), ("x", "星")), b"\0" * 9999)
    packed = pack(response)
    assert len(packed.body) < 100
    assert unpack(packed, "evt_1") == StoredResponse(
        200, response.headers, response.body, event_id="evt_1"
    )


def test_an_answer_too_large_is_not_kept():
    assert unpack(pack(StoredResponse(200, (), os.urandom(100)), body_max_bytes=99), None) is None
