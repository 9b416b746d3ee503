"""Heads: exactly the pinned files, from a package, a folder or the object store."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from xingyue.catalog.heads import HeadSource
from xingyue.contract import HeadRef
from xingyue.errors import IntegrityError, InvalidRequest, NotFound, XingyueError
from xingyue.storage.memory import MemoryStore

FILES = {"head.safetensors": b"tensor" * 400_000, "labels.txt": "良品\n气孔\n".encode()}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def manifest_bytes(files: dict[str, Any] | None = None, **more: Any) -> bytes:
    pinned = {name: sha256(data) for name, data in FILES.items()} if files is None else files
    return json.dumps({"family": "visual-anomaly", "files": pinned, **more}).encode()


def ref(uri: str, manifest: bytes | None = None) -> HeadRef:
    return HeadRef("model", "1", sha256(manifest or manifest_bytes()), uri)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "head folder"
    made.mkdir()
    for name, data in FILES.items():
        (made / name).write_bytes(data)
    (made / "manifest.json").write_bytes(manifest_bytes())
    (made / "extra.py").write_text("raise SystemExit")
    return made


@pytest.fixture
def object_store(folder: Path) -> MemoryStore:
    store = MemoryStore()
    store.ensure_bucket("xingyue")
    for path in folder.iterdir():
        store.put("xingyue", f"heads/h1/{path.name}", path.read_bytes())
    return store


@pytest.fixture
def uris(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    package = tmp_path / "site" / "test_heads_module"
    (package / "heads").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    folder_copy = package / "heads" / "h1"
    folder_copy.symlink_to(folder)
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return {
        "resource": "resource:test_heads_module:heads/h1",
        "file": folder.as_uri(),
        "s3": "s3://xingyue/heads/h1",
    }


@pytest.mark.parametrize("kind", ["resource", "file", "s3"])
def test_every_kind_of_uri_gives_the_pinned_files_alone(
    tmp_path: Path, uris: dict[str, str], object_store: MemoryStore, kind: str
) -> None:
    source = HeadSource(tmp_path / "cache", object_store)
    files = source.resolve(ref(uris[kind]))
    assert files.folder == tmp_path / "cache" / sha256(manifest_bytes())
    assert files.manifest["family"] == "visual-anomaly"
    assert {path.name for path in files.folder.iterdir()} == {*FILES, "manifest.json"}
    assert (files.folder / "labels.txt").read_bytes() == FILES["labels.txt"]
    assert source.resolve(ref(uris[kind])) is files


def test_a_new_process_uses_the_cache_without_the_source(folder: Path, tmp_path: Path) -> None:
    wanted = ref(folder.as_uri())
    HeadSource(tmp_path / "cache").resolve(wanted)
    (folder / "manifest.json").unlink()
    assert HeadSource(tmp_path / "cache").resolve(wanted).manifest["files"]


def test_a_damaged_cache_is_fetched_again(folder: Path, tmp_path: Path) -> None:
    wanted = ref(folder.as_uri())
    files = HeadSource(tmp_path / "cache").resolve(wanted)
    (files.folder / "labels.txt").write_bytes(b"other")
    again = HeadSource(tmp_path / "cache").resolve(wanted)
    assert (again.folder / "labels.txt").read_bytes() == FILES["labels.txt"]


@pytest.mark.parametrize("name", ["manifest.json", "head.safetensors", "labels.txt"])
def test_a_tampered_file_is_refused(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    with pytest.raises(IntegrityError, match=name):
        HeadSource(tmp_path / "cache").resolve(ref(folder.as_uri()))
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize(
    "files",
    [
        {"../../evil.txt": "0" * 64},
        {"/etc/passwd.txt": "0" * 64},
        {"a/b.txt": "0" * 64},
        {".hidden.txt": "0" * 64},
        {"code.py": "0" * 64},
        {"weights.pkl": "0" * 64},
        {"no-suffix": "0" * 64},
        {"manifest.json": "0" * 64},
        {"labels.txt": "not a digest"},
        {"labels.txt": None},
        ["labels.txt"],
        "labels.txt",
    ],
    ids=str,
)
def test_names_that_are_not_plain_data_files_are_refused(
    folder: Path, tmp_path: Path, files: Any
) -> None:
    data = manifest_bytes(files)
    (folder / "manifest.json").write_bytes(data)
    with pytest.raises(IntegrityError):
        HeadSource(tmp_path / "cache").resolve(ref(folder.as_uri(), data))


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'{"files": 3}', b"\xff\xfe"], ids=str)
def test_a_manifest_that_is_none_is_refused(folder: Path, tmp_path: Path, data: bytes) -> None:
    (folder / "manifest.json").write_bytes(data)
    with pytest.raises(IntegrityError):
        HeadSource(tmp_path / "cache").resolve(HeadRef("m", "1", sha256(data), folder.as_uri()))


def test_a_head_over_the_limit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="larger than the limit"):
        HeadSource(tmp_path / "cache", head_max_bytes=1000).resolve(ref(folder.as_uri()))


@pytest.mark.parametrize(
    ("uri", "kind"),
    [
        ("resource:no_such_module_here:x", NotFound),
        ("resource:xingyue:no/such/folder", NotFound),
        ("file:///no/such/folder", NotFound),
        ("s3://xingyue/none", NotFound),
        ("s3://none/none", NotFound),
        ("https://hub.example/head", InvalidRequest),
        ("file://host/folder", InvalidRequest),
        ("file:relative", InvalidRequest),
        ("s3://xingyue", InvalidRequest),
        ("resource:xingyue", InvalidRequest),
        ("", InvalidRequest),
    ],
)
def test_uris_that_lead_nowhere(
    tmp_path: Path, object_store: MemoryStore, uri: str, kind: type[XingyueError]
) -> None:
    with pytest.raises(kind) as caught:
        HeadSource(tmp_path / "cache", object_store).resolve(ref(uri))
    assert type(caught.value) is kind


def test_a_digest_that_is_none_cannot_name_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="64 hex"):
        HeadSource(tmp_path / "cache").resolve(HeadRef("m", "1", "../../x", "file:///x"))


def test_threads_resolve_the_same_head_together(folder: Path, tmp_path: Path) -> None:
    results: list[Path] = []

    def resolve() -> None:
        # Each its own source: as between processes, only the folder is shared.
        results.append(HeadSource(tmp_path / "cache").resolve(ref(folder.as_uri())).folder)

    threads = [threading.Thread(target=resolve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [sha256(manifest_bytes())]


def test_drafts_of_a_killed_process_are_swept(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    (cache / ".draft-old").mkdir(parents=True)
    (cache / ".draft-new").mkdir()
    os.utime(cache / ".draft-old", (0, 0))
    source = HeadSource(cache)
    source.resolve(ref(folder.as_uri()))
    source.settle()
    assert not (cache / ".draft-old").exists()
    assert (cache / ".draft-new").exists()


def test_the_heads_unused_longest_leave_a_full_cache(folder: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    digests = []
    for number in range(4):
        data = manifest_bytes(number=number)
        (folder / "manifest.json").write_bytes(data)
        digests.append(sha256(data))
        source = HeadSource(cache, cache_max_bytes=6_000_000)
        source.resolve(HeadRef("m", "1", digests[-1], folder.as_uri()))
        source.settle()
        if number < 2:
            os.utime(cache / digests[-1], (1000 + number, 1000 + number))
    # Of 2.4 MB each, 6 MB in all: the two old ones made room; new ones are never touched.
    assert {path.name for path in cache.iterdir()} == set(digests[2:])
