"""What a URL may be, where it may lead, how a batch is signed, and the store's refusals."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from xingyue.errors import InvalidRequest, NotFound
from xingyue.outbox import signing
from xingyue.outbox.addresses import AddressPolicy
from xingyue.outbox.rules import PER_TENANT_MAX, RetryPolicy, check_url


@pytest.mark.parametrize(
    "url",
    ["ftp://a/b", "file:///etc/passwd", "//a/b", "a", "", "http://", "http://u:p@a/", "http://a:0/",
     "http://a:99999/", "http://a b/", "http://a/\n", "http://" + "a" * 3000, "http://[::1/"],
    ids=lambda url: url[:20],
)  # fmt: skip
def test_urls_that_can_not_be(url):
    with pytest.raises(InvalidRequest) as caught:
        check_url(url)
    assert caught.value.param == "url"


@pytest.mark.parametrize(
    ("address", "open_", "public_only"),
    [
        ("192.0.2.1", True, False),
        ("8.8.8.8", True, True),
        ("10.1.2.3", True, False),
        ("192.168.1.20", True, False),
        ("fd12::1", True, False),
        ("127.0.0.1", True, False),
        ("::1", True, False),
        ("169.254.169.254", False, False),
        ("::ffff:169.254.169.254", False, False),
        ("fe80::1", False, False),
        ("fd00:ec2::254", False, False),
        ("100.100.100.200", False, False),
        ("0.0.0.0", False, False),
        ("::", False, False),
        ("224.0.0.1", False, False),
        ("ff02::1", False, False),
    ],
)
def test_addresses_that_may_be_called(address, open_, public_only):
    parsed = ipaddress.ip_address(address)
    assert (AddressPolicy().refusal(parsed) is None) is open_
    strict = AddressPolicy(private=False, loopback=False)
    assert (strict.refusal(parsed) is None) is public_only


def test_a_refusal_names_the_remedy():
    with pytest.raises(InvalidRequest) as caught:
        asyncio.run(AddressPolicy().resolve("169.254.169.254", 80))
    assert "metadata" in caught.value.message
    assert "XINGYUE_WEBHOOK_PRIVATE" in caught.value.message


def test_the_signature_of_the_specifications_own_example():
    signature = signing.sign(
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_waits_double_up_to_the_longest():
    policy = RetryPolicy(first_s=1, longest_s=100)
    assert [policy.wait_s(n, 0.999_999) for n in (1, 2, 3)] == pytest.approx([1, 2, 4], rel=1e-5)
    assert policy.wait_s(1, 0) == 0.5
    assert policy.wait_s(10_000, 0) == 50


def test_what_the_store_refuses(store, happen):
    happen("acme", 3)
    assert store.create("acme", "http://a/", 0).cursor == 0
    assert store.create("acme", "http://a/").cursor == 3
    for cursor in (-1, 4):
        with pytest.raises(InvalidRequest) as caught:
            store.create("acme", "http://a/", cursor)
        assert caught.value.param == "cursor"
    hook = store.of_tenant("acme")[0]
    for refused in (
        lambda: store.get("other", hook.id),
        lambda: store.delete("other", hook.id),
        lambda: store.redeliver("other", hook.id, 0),
        lambda: store.get("acme", "none"),
    ):
        with pytest.raises(NotFound):
            refused()
    for _ in range(PER_TENANT_MAX - 2):
        store.create("acme", "http://a/")
    with pytest.raises(InvalidRequest) as caught:
        store.create("acme", "http://a/")
    assert caught.value.code == "too_many_webhooks"
    store.delete("acme", hook.id)
    assert len(store.of_tenant("acme")) == PER_TENANT_MAX - 1
