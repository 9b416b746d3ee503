"""Adapters as heads: what is let in, and what each call is answered with."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save

from xingyue.contract import HeadFiles, WorkItem, WorkResult
from xingyue.errors import IntegrityError, InvalidRequest, Overloaded
from xingyue_models.language_model import adapter_pool
from xingyue_models.language_model.adapter import (
    GGUF_FILE,
    TENSORS_FILE,
    Adapter,
    read_adapter,
    tensor_name,
    to_gguf,
)
from xingyue_models.language_model.adapter_pool import AdapterPool
from xingyue_models.language_model.gguf_header import GgufHeader, TensorPlace, read_header
from xingyue_models.language_model.trunk import SpeakerTrunk

TRUNK_SHA256 = "ab" * 32
WIDTH, VALUES, RANK = 32, 8, 4
TRUNK = GgufHeader(
    {"general.architecture": "qwen2"},
    {
        "blk.1.attn_q.weight": TensorPlace((WIDTH, WIDTH), 0, 0),
        "blk.1.attn_v.weight": TensorPlace((VALUES, WIDTH), 0, 0),
    },
)
Q_A, Q_B = (tensor_name(1, "self_attn.q_proj", side) for side in "AB")
V_A, V_B = (tensor_name(1, "self_attn.v_proj", side) for side in "AB")


def pairs(**changes: Any) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {Q_A: (RANK, WIDTH), Q_B: (WIDTH, RANK), V_A: (RANK, WIDTH), V_B: (VALUES, RANK)}
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return made | changes


def head(folder: Path, tensors: Mapping[str, np.ndarray], **changes: Any) -> HeadFiles:
    """A head of ``tensors``; ``changes`` of its manifest, ``gguf`` the bytes of that file."""
    weights = save(dict(tensors))
    gguf = changes.pop("gguf", None)
    if gguf is None:
        try:
            gguf = to_gguf(tensors, 8.0, "qwen2")
        except InvalidRequest:
            gguf = b""
    files = {TENSORS_FILE: weights, GGUF_FILE: gguf}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    manifest = {
        "family": "language-model", "format_version": 1, "kind": "lora", "alpha": 8.0,
        "trunk": {"sha256": TRUNK_SHA256},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
        **changes,
    }  # fmt: skip
    return HeadFiles(folder, json.loads(json.dumps(manifest)))


def test_an_adapter_is_what_its_safetensors_say(tmp_path: Path) -> None:
    first = read_adapter(head(tmp_path, pairs()), TRUNK, TRUNK_SHA256)
    again = read_adapter(head(tmp_path, pairs()), TRUNK, TRUNK_SHA256)
    assert first == again
    assert first.nbytes() == len(first.gguf)
    (tmp_path / "made.gguf").write_bytes(first.gguf)
    made = read_header(tmp_path / "made.gguf")
    assert made.values["adapter.type"] == "lora"
    assert made.values["adapter.lora.alpha"] == 8.0
    assert made.tensors["blk.1.attn_v.weight.lora_b"].shape == (VALUES, RANK)


NAN = np.full((RANK, WIDTH), np.nan, np.float32)


@pytest.mark.parametrize(
    ("tensors", "changes", "words"),
    [
        pytest.param(pairs(), {"family": "surface-inspection"}, "family must be", id="family"),
        pytest.param(pairs(), {"format_version": 2}, "format_version must be 1", id="version"),
        pytest.param(pairs(), {"kind": "gaussian"}, "kind must be 'lora'", id="kind"),
        pytest.param(pairs(), {"trunk": {"sha256": "cd" * 32}}, "fitted on trunk cdcd", id="trunk"),
        pytest.param(pairs(), {"alpha": 0}, "alpha must be a number above 0", id="alpha"),
        pytest.param(pairs(), {"alpha": "8"}, "alpha must be a number above 0", id="alpha-text"),
        pytest.param(pairs(), {"files": {}}, "needs adapter_model.safetensors", id="no-file"),
        pytest.param({}, {}, "holds no matrix", id="empty"),
        pytest.param({**pairs(), "x": NAN}, {}, "'x' is no matrix of an adapter", id="name"),
        pytest.param(pairs(**{Q_A: NAN}), {}, "not finite", id="nan"),
        pytest.param(
            pairs(**{Q_A: NAN.astype(np.float64)}), {}, "must be a float32 matrix", id="dtype"
        ),
        pytest.param(
            pairs(**{Q_A: np.zeros((RANK, 31), np.float32)}), {}, "the trunk's", id="shape"
        ),
        pytest.param(
            pairs(**{Q_A: np.zeros((5, WIDTH), np.float32), Q_B: np.zeros((WIDTH, 5), np.float32)}),
            {}, "one rank from 1 to 64", id="two-ranks",
        ),
        pytest.param({k: v for k, v in pairs().items() if k != V_B}, {}, "has no", id="half-pair"),
        pytest.param(
            {k.replace("layers.1.", "layers.2."): v for k, v in pairs().items()},
            {}, "which the trunk lacks", id="layer",
        ),
        pytest.param(pairs(), {"gguf": b"GGUF\x03"}, "does not hold the numbers", id="other-gguf"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(
    tmp_path: Path, tensors: dict[str, np.ndarray], changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_adapter(head(tmp_path, tensors, **changes), TRUNK, TRUNK_SHA256)
    assert words in refused.value.message


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    files = head(tmp_path, pairs())
    (tmp_path / TENSORS_FILE).write_bytes(save({**pairs(), Q_A: np.zeros((4, 32), np.float32)}))
    with pytest.raises(IntegrityError):
        read_adapter(files, TRUNK, TRUNK_SHA256)


class FakeEngine:
    def __init__(self, names: list[str]) -> None:
        self.names = names
        self.closed = False

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def started() -> list[FakeEngine]:
    return []


@pytest.fixture
def start(started: list[FakeEngine]) -> Callable[..., Any]:
    def start(paths: list[Path]) -> FakeEngine:
        assert all(path.read_bytes() for path in paths)
        started.append(FakeEngine([path.stem for path in paths]))
        return started[-1]

    return start


def test_a_new_adapter_takes_over_and_the_least_recently_used_goes(
    start: Any, started: list[FakeEngine]
) -> None:
    pool = AdapterPool(start, 2)
    a, b, c = (Adapter(name, name.encode()) for name in "abc")
    for adapter in (a, b, a, c, a, b):
        with pool.voice(adapter) as voice:
            index = voice.choice["lora"][0]["id"]
            assert voice.llama.names[index] == adapter.digest  # type: ignore[attr-defined]
    assert [engine.names for engine in started] == [["a"], ["a", "b"], ["a", "c"], ["a", "b"]]
    assert [engine.closed for engine in started] == [True, True, True, False]
    pool.close()
    assert started[-1].closed


def test_an_engine_that_answers_is_closed_only_after_it(
    start: Any, started: list[FakeEngine]
) -> None:
    pool = AdapterPool(start, 4)
    a, b, c = (Adapter(name, name.encode()) for name in "abc")
    third = threading.Event()

    def call_third() -> None:
        with pool.voice(c):
            third.set()

    with pool.voice(a):
        with pool.voice(b):
            assert not started[0].closed
        waiting = threading.Thread(target=call_third)
        waiting.start()
        # A third engine is not begun while two live.
        assert not third.wait(0.2)
        with pool.voice(b):
            assert len(started) == 2
    assert third.wait(10)
    waiting.join()
    assert [engine.closed for engine in started] == [True, True, False]
    assert sorted(started[-1].names) == ["a", "b", "c"]
    pool.close()


def test_a_wait_for_an_engine_that_never_ends_is_bounded(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter_pool, "_WAIT_MAX_S", 0.05)
    pool = AdapterPool(start, 4)
    a, b, c = (Adapter(name, name.encode()) for name in "abc")
    with pool.voice(a):
        with pool.voice(b):
            pass
        with pytest.raises(Overloaded, match="taking over"), pool.voice(c):
            pass
    with pool.voice(c) as voice:
        assert "c" in voice.llama.names  # type: ignore[attr-defined]
    pool.close()


def test_an_engine_that_will_not_start_spoils_no_other_adapter(
    start: Any, started: list[FakeEngine]
) -> None:
    def moody(paths: list[Path]) -> Any:
        if any(path.stem == "bad" for path in paths):
            raise RuntimeError("no")
        return start(paths)

    pool = AdapterPool(moody, 4)
    good, bad = Adapter("good", b"x"), Adapter("bad", b"x")
    with pool.voice(good):
        pass
    with pytest.raises(RuntimeError, match="no"), pool.voice(bad):
        pass
    with pool.voice(Adapter("other", b"x")):
        pass
    assert started[-1].names == ["good", "other"]
    pool.close()


def strong_head(folder: Path, path: Path, seed: int) -> HeadFiles:
    """Random pairs, strong enough to change what is said."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    tensors = {}
    for layer in range(20, 24):
        for side, shape in (("A", (8, 896)), ("B", (896, 8))):
            name = tensor_name(layer, "self_attn.o_proj", side)
            tensors[name] = (rng.normal(size=shape) * 0.1).astype(np.float32)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return head(folder, tensors, trunk={"sha256": sha256})


@pytest.mark.weights
def test_each_call_is_answered_by_its_own_adapter(
    speaker: SpeakerTrunk, speaker_file: Path, tmp_path: Path
) -> None:
    """One prompt for all, so that a state kept of one would be found by another."""
    heads = [
        None,
        *(speaker.load_head(strong_head(tmp_path / str(s), speaker_file, s)) for s in range(2)),
    ]
    words = "List three colours of a traffic light, with a word on what each of them means."
    params = {"messages": [{"role": "user", "content": words}], "max_tokens": 16, "temperature": 0}
    item = WorkItem("chat", None, {}, params)

    def say(which: int) -> str:
        (outcome,) = speaker.infer([item], [heads[which]])
        assert isinstance(outcome, WorkResult)
        return str(outcome.value["content"])

    alone = [say(0), say(1), say(2)]
    assert len(set(alone)) == 3
    assert [say(which) for which in (2, 0, 1, 1, 2, 0)] == [alone[w] for w in (2, 0, 1, 1, 2, 0)]
    mixed = speaker.infer([item] * 4, [heads[1], heads[0], heads[2], heads[1]])
    assert [m.value["content"] for m in mixed if isinstance(m, WorkResult)] == [
        alone[w] for w in (1, 0, 2, 1)
    ]
    *_, last = speaker.generate(item, heads[2])
    assert last.final is not None
    assert last.final.value["content"] == alone[2]


@pytest.mark.weights
def test_a_variant_only_chats(speaker: SpeakerTrunk) -> None:
    item = WorkItem("answer", None, {}, {"question": "Why?", "passages": []})
    (refused,) = speaker.infer([item], [Adapter("0", b"")])
    assert isinstance(refused, InvalidRequest)
    assert "answers chat" in refused.message
