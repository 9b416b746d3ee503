"""Both object stores keep the protocol's promises."""

from __future__ import annotations

import io
import pickle
import urllib.request

import pytest

from xingyue.errors import InvalidRequest, NotFound, PayloadTooLarge
from xingyue.storage.memory import MemoryStore
from xingyue.storage.objects import ObjectStore, delete_prefix
from xingyue.storage.s3 import PART_BYTES, S3Store

BUCKET = "promises"


@pytest.fixture(params=["memory", pytest.param("s3", marks=pytest.mark.s3)])
def store(request: pytest.FixtureRequest) -> ObjectStore:
    if request.param == "memory":
        made: ObjectStore = MemoryStore()
    else:
        made = S3Store(request.getfixturevalue("s3_server").access())
    made.ensure_bucket(BUCKET)
    for stat in list(made.list(BUCKET)):
        made.delete(BUCKET, stat.key)
    return made


def test_put_is_read_back_whole(store: ObjectStore) -> None:
    stat = store.put(BUCKET, "a/b c.txt", b"hello", media_type="text/plain")
    assert store.get(BUCKET, "a/b c.txt", max_bytes=5) == b"hello"
    assert store.stat(BUCKET, "a/b c.txt").size_bytes == stat.size_bytes == 5
    assert store.exists(BUCKET, "a/b c.txt")
    store.put(BUCKET, "a/b c.txt", b"")
    assert store.get(BUCKET, "a/b c.txt", max_bytes=5) == b""


def test_ensure_bucket_twice_is_harmless(store: ObjectStore) -> None:
    store.put(BUCKET, "kept", b"1")
    store.ensure_bucket(BUCKET)
    assert store.get(BUCKET, "kept", max_bytes=1) == b"1"


@pytest.mark.parametrize("known", [True, False], ids=["known-size", "unknown-size"])
def test_stream_of_several_parts(store: ObjectStore, known: bool) -> None:
    data = bytes(range(256)) * ((2 * PART_BYTES + 1000) // 256)
    stat = store.put_stream(
        BUCKET, "big", io.BytesIO(data), size_bytes=len(data) if known else None
    )
    assert stat.size_bytes == len(data)
    with store.open(BUCKET, "big") as chunks:
        parts = list(chunks)
    assert b"".join(parts) == data
    assert max(map(len, parts)) <= 1 << 20


def test_a_source_that_fails_leaves_no_object(store: ObjectStore) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise PayloadTooLarge("over the limit", param="file")

    with pytest.raises(PayloadTooLarge, match="over the limit"):
        store.put_stream(BUCKET, "half", Failing())
    assert not store.exists(BUCKET, "half")


def test_get_is_bounded(store: ObjectStore) -> None:
    store.put(BUCKET, "six", b"123456")
    with pytest.raises(PayloadTooLarge, match="5"):
        store.get(BUCKET, "six", max_bytes=5)


def test_list_is_in_order_of_keys_and_by_prefix(store: ObjectStore) -> None:
    for key in ("b/2", "b/1", "c", "a", "bb"):
        store.put(BUCKET, key, b"x")
    assert [stat.key for stat in store.list(BUCKET, "b/")] == ["b/1", "b/2"]
    assert [stat.key for stat in store.list(BUCKET)] == ["a", "b/1", "b/2", "bb", "c"]
    assert delete_prefix(store, BUCKET, "b/") == 2
    assert [stat.key for stat in store.list(BUCKET)] == ["a", "bb", "c"]


def test_delete_of_nothing_succeeds(store: ObjectStore) -> None:
    store.put(BUCKET, "gone", b"x")
    store.delete(BUCKET, "gone")
    store.delete(BUCKET, "gone")
    assert not store.exists(BUCKET, "gone")


@pytest.mark.parametrize(
    ("bucket", "key"), [(BUCKET, "no/such"), ("no-such-bucket", "x")], ids=["key", "bucket"]
)
def test_absent_is_not_found(store: ObjectStore, bucket: str, key: str) -> None:
    assert not store.exists(bucket, key)
    for read in (store.stat, lambda b, k: store.get(b, k, max_bytes=1)):
        with pytest.raises(NotFound):
            read(bucket, key)


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/../b", "./a", "a/", "a\nb", "x" * 1025])
def test_keys_that_servers_would_fold_are_refused(store: ObjectStore, key: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.put(BUCKET, key, b"x")
    assert caught.value.param == "key"


@pytest.mark.parametrize("bucket", ["", "a", "A-b", "x_y", "a..b", "-ab", "a" * 64])
def test_bucket_names_are_checked(store: ObjectStore, bucket: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        store.ensure_bucket(bucket)
    assert caught.value.param == "bucket"


def test_delete_prefix_refuses_the_empty_prefix() -> None:
    with pytest.raises(ValueError, match="prefix"):
        delete_prefix(MemoryStore(), BUCKET, "")


@pytest.mark.s3
def test_presigned_urls_work_without_a_key(s3_server) -> None:  # type: ignore[no-untyped-def]
    store = S3Store(s3_server.access())
    store.ensure_bucket(BUCKET)
    url = store.presigned_url(BUCKET, "signed", method="PUT")
    request = urllib.request.Request(url, data=b"by url", method="PUT")
    assert urllib.request.urlopen(request).status == 200
    with urllib.request.urlopen(store.presigned_url(BUCKET, "signed")) as answer:
        assert answer.read() == b"by url"


@pytest.mark.s3
def test_a_store_pickles_as_its_access(s3_server) -> None:  # type: ignore[no-untyped-def]
    store = S3Store(s3_server.access())
    store.ensure_bucket(BUCKET)
    store.put(BUCKET, "p", b"1")
    assert pickle.loads(pickle.dumps(store)).get(BUCKET, "p", max_bytes=9) == b"1"
    assert s3_server.access().secret_key not in repr(store.access)
