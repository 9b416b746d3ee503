"""One fit from data to a head that serves as it was trained."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig
from safetensors.numpy import load_file

from xingyue.contract import FitContext, FitResult
from xingyue.errors import InvalidRequest
from xingyue_adapters.datasets import TextSample
from xingyue_adapters.fit_report import LICENCE
from xingyue_adapters.language_tuning import dataset, hyperparameters, served
from xingyue_adapters.language_tuning.chats import Chat, read_chats
from xingyue_adapters.language_tuning.export import write_head
from xingyue_adapters.language_tuning.hyperparameters import SHAPE, Settings
from xingyue_adapters.language_tuning.measures import Asked, measures, parity
from xingyue_adapters.language_tuning.network import GgufNetwork
from xingyue_adapters.language_tuning.offer import NAME
from xingyue_adapters.language_tuning.report import write_report
from xingyue_adapters.language_tuning.train import Curve, Learned, Tuner, run_lower
from xingyue_models.language_model.adapter import KIND, TENSORS_FILE, Tensors
from xingyue_models.language_model.gguf_header import read_header
from xingyue_models.language_model.trunk import SpeakerTrunk

PARITY_MAX = 0.05
"""Largest difference in sureness, in [0, 1]. The served model multiplies 8-bit activations by
weights of 5 to 8 bits, the trained one bfloat16 by the same weights de-quantised: without any
adapter the two differ by about 0.005, with one by no more. An adapter that is not applied, or
twice, differs by several tenths."""
TOKENS_ALL_MAX = 300_000
"""Of all chats together: what is kept of each token at the height of the first adapted layer is
some 2 KB."""


@dataclass(frozen=True, slots=True)
class _Trained:
    """``sure``, ``sure_base``: sureness of the judged chats, with the adapter and before."""

    tensors: Tensors
    config: LoraConfig
    curve: Curve
    sure: list[float]
    sure_base: list[float]


def fit(context: FitContext) -> FitResult:
    """``InvalidRequest`` names the hyper-parameter or the lines at fault; ``Cancelled`` passes."""
    started = time.monotonic()
    dataset.check_known(context.method)
    settings = _settings(context)
    report, fitted, held = dataset.divide(context, settings.held_out)
    context.say(f"{len(fitted)} chats to fit on and {len(held)} held out by group")
    path = context.weights("trunk")
    network = GgufNetwork(path, read_header(path), context.check)
    with served.open_trunk(context, settings.tokens_max) as trunk:
        chats = _chats(context, trunk, [*fitted, *held], settings)
        judged = chats[len(fitted) :][: settings.answers]
        before = None if context.base is None else trunk.load_head(context.base)
        base = served.ask(context, trunk, before, judged)
        done = _train(context, network, chats, len(fitted), settings)
        facts = _facts(context, settings, path, report.digest)
        head = write_head(
            context.out / "head", done.tensors, done.config, network.architecture, facts
        )
        tuned = served.ask(context, trunk, served.load_adapter(trunk, head), judged)
    asked = [
        Asked(*each) for each in zip(judged, base, tuned, done.sure, done.sure_base, strict=True)
    ]
    found = measures(asked, done.curve.held[-1][1], done.curve.held[0][1])
    worst = parity(asked)
    context.say(
        f"held-out loss {found['base_loss']:.3f} before, {found['loss']:.3f} after; served and "
        f"trained model agree within {worst:.3f} (allowed {PARITY_MAX:g})"
    )
    result = FitResult(head, context.out / "report", report, found, worst, PARITY_MAX)
    told = {
        "hyperparameters": dataclasses.asdict(settings),
        "split": {"by": "group", "fitted_on": _counts(fitted), "held_out": _counts(held)},
        "tokens": {
            "read": sum(len(chat.tokens) for chat in chats),
            "learned": sum(len(chat.answer_tokens) for chat in chats[: len(fitted)]),
        },
        "head": {"kind": KIND, "bytes": sum(v.nbytes for v in done.tensors.values())},
        "seconds": round(time.monotonic() - started, 1),
    }
    write_report(context, result, asked, done.curve, told)
    return result


def _train(
    context: FitContext,
    network: GgufNetwork,
    chats: Sequence[Chat],
    fitted: int,
    settings: Settings,
) -> _Trained:
    """The first ``fitted`` of ``chats`` are fitted on. The network is let go at the end."""
    torch.set_num_threads(context.runtime.threads)
    below = max(0, network.layers - settings.layers)
    learned = run_lower(network, below, chats, context.progress)
    held = learned[fitted:]
    judged = held[: settings.answers]
    tuner = Tuner(network, settings, context.seed, _start(context))
    sure_base = [_sureness(tuner, each) for each in judged]
    curve = tuner.fit(learned[:fitted], held, context.progress)
    sure = [_sureness(tuner, each) for each in judged]
    return _Trained(tuner.tensors(), tuner.config, curve, sure, sure_base)


def _chats(
    context: FitContext, trunk: SpeakerTrunk, samples: Sequence[TextSample], settings: Settings
) -> list[Chat]:
    with trunk.voice(None) as voice:
        chats = read_chats(
            samples, voice.llama, trunk.chat_body, settings.tokens_max, context.check
        )
    total = sum(len(chat.tokens) for chat in chats)
    if total > TOKENS_ALL_MAX:
        raise InvalidRequest(
            f"the chats have {total} tokens together; at most {TOKENS_ALL_MAX} can be fitted on at "
            "once; send fewer or shorter ones",
            code="too_many_tokens",
            param="data",
        )
    return chats


def _settings(context: FitContext) -> Settings:
    """Those given; of a variant to go on from, its own shape."""
    settings = hyperparameters.read(Settings, context.hyperparameters)
    if context.base is None:
        return settings
    recipe = context.base.manifest.get("recipe")
    told = recipe.get("hyperparameters") if isinstance(recipe, Mapping) else None
    had = {name: told[name] for name in SHAPE if name in told} if isinstance(told, Mapping) else {}
    for name, value in had.items():
        if context.hyperparameters.get(name, hyperparameters.AUTO) not in (
            hyperparameters.AUTO,
            value,
        ):
            raise InvalidRequest(
                f"the variant to go on from was fitted with {name} {value!r}; leave {name} out, or "
                "start from its base model",
                param=f"hyperparameters.{name}",
            )
    return dataclasses.replace(settings, **had)


def _start(context: FitContext) -> Tensors | None:
    """The pairs of the variant to go on from."""
    if context.base is None:
        return None
    tensors: Tensors = load_file(context.base.folder / TENSORS_FILE)
    return tensors


def _sureness(tuner: Tuner, each: Learned) -> float:
    return float(np.exp(tuner.logprobs(each)[: served.TOKENS_JUDGED]).mean())


def _facts(context: FitContext, settings: Settings, path: Path, digest: str) -> dict[str, Any]:
    return {
        "trunk": {
            "sha256": _sha256(path, context.check),
            "name": str(read_header(path).values.get("general.name", "")),
        },
        "recipe": {
            "name": NAME,
            "method": context.method,
            "hyperparameters": dataclasses.asdict(settings),
            "seed": context.seed,
        },
        "dataset": {"digest": digest, "kind": "jsonl"},
        "licence": dict(LICENCE),
    }


def _sha256(path: Path, check: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 24):
            check()
            digest.update(chunk)
    return digest.hexdigest()


def _counts(samples: Sequence[TextSample]) -> dict[str, int]:
    return {"chats": len(samples), "groups": len({sample.group for sample in samples})}
