"""LoRA (Hu et al., 2021, by peft) on the upper layers: cross-entropy of the answers' tokens."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.utils import set_peft_model_state_dict
from torch.nn.functional import cross_entropy

from xingyue_adapters.language_tuning.chats import Chat
from xingyue_adapters.language_tuning.hyperparameters import RATE, TARGETS, Settings
from xingyue_adapters.language_tuning.network import GgufNetwork
from xingyue_models.language_model.adapter import Tensors

_WARM_UP = 0.1
"""Share of the steps in which the rate rises."""
_NORM_MAX = 1.0

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Learned:
    """A chat at the height of the first adapted layer. ``hidden``: (1, tokens, width)."""

    chat: Chat
    hidden: torch.Tensor


@dataclass(slots=True)
class Curve:
    """``steps``: (step, loss of its batch); ``held``: (step, loss of the held-out chats)."""

    steps: list[tuple[int, float]] = field(default_factory=list)
    held: list[tuple[int, float]] = field(default_factory=list)


def run_lower(
    network: GgufNetwork, below: int, chats: Sequence[Chat], progress: Progress
) -> list[Learned]:
    """Every chat through the ``below`` layers that are not adapted."""
    lower = network.lower(below)
    learned = []
    with torch.no_grad():
        for number, chat in enumerate(chats):
            progress("reading", number, len(chats))
            out = lower(input_ids=torch.tensor([chat.tokens]), use_cache=False)
            learned.append(Learned(chat, out.last_hidden_state))
    return learned


class Tuner:
    """The upper part with LoRA pairs. Equal chats, settings and seed give equal pairs on one kind
    of processor."""

    def __init__(
        self, network: GgufNetwork, settings: Settings, seed: int, start: Tensors | None = None
    ) -> None:
        """``start``: the pairs to go on from, of the same layers, targets and rank; else the
        untouched model."""
        torch.manual_seed(seed)
        self._settings = settings
        self._below = max(0, network.layers - settings.layers)
        upper = network.upper(self._below)
        self._generator = torch.Generator().manual_seed(seed)
        self.config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,  # type: ignore[arg-type]
            lora_dropout=settings.dropout,
            target_modules=list(TARGETS[settings.targets]),
            task_type="CAUSAL_LM",
        )
        with warnings.catch_warnings():
            # Of transformers, about a name that peft uses.
            warnings.simplefilter("ignore", FutureWarning)
            self.model: PeftModel = get_peft_model(upper, self.config)
        if start is not None:
            self._go_on(start)

    def fit(self, fitted: Sequence[Learned], held: Sequence[Learned], progress: Progress) -> Curve:
        """``progress`` counts chats; each epoch ends with the held-out loss."""
        settings, curve = self._settings, Curve()
        pairs = [p for p in self.model.parameters() if p.requires_grad]
        steps_an_epoch = math.ceil(len(fitted) / settings.batch_size)
        steps = steps_an_epoch * settings.n_epochs
        optimiser = torch.optim.AdamW(pairs, lr=RATE * settings.learning_rate_multiplier)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, steps))
        curve.held.append((0, self.loss(held)))
        step, done = 0, 0
        for _ in range(settings.n_epochs):
            self.model.train()
            order = torch.randperm(len(fitted), generator=self._generator).tolist()
            for start in range(0, len(order), settings.batch_size):
                batch = [fitted[i] for i in order[start : start + settings.batch_size]]
                count = sum(len(each.chat.answer_tokens) for each in batch)
                total = 0.0
                for each in batch:
                    progress("training", done, len(fitted) * settings.n_epochs)
                    loss = self._losses(each).sum() / count
                    loss.backward()  # type: ignore[no-untyped-call]
                    total += float(loss.detach())
                    done += 1
                torch.nn.utils.clip_grad_norm_(pairs, _NORM_MAX)
                optimiser.step()
                schedule.step()
                optimiser.zero_grad()
                step += 1
                curve.steps.append((step, total))
            curve.held.append((step, self.loss(held)))
        return curve

    def logprobs(self, each: Learned) -> NDArray[np.float64]:
        """Of every token of the answer, given all before it."""
        self.model.eval()
        with torch.no_grad():
            return -self._losses(each).double().numpy()

    def loss(self, chats: Sequence[Learned]) -> float:
        """Mean over all tokens of the answers, nats."""
        return -float(np.concatenate([self.logprobs(each) for each in chats]).mean())

    def tensors(self) -> Tensors:
        """The pairs under the layers' numbers in the whole model."""
        found = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {
            renumbered(name, self._below): values.float().contiguous().numpy()
            for name, values in found.items()
        }

    def _go_on(self, start: Tensors) -> None:
        state = {renumbered(n, -self._below): torch.from_numpy(v) for n, v in start.items()}
        set_peft_model_state_dict(self.model, state)

    def _losses(self, each: Learned) -> torch.Tensor:
        start, tokens = each.chat.answer_start, torch.tensor(each.chat.tokens)
        where = torch.arange(start - 1, len(tokens) - 1)
        out = self.model(inputs_embeds=each.hidden, logits_to_keep=where, use_cache=False)
        return cross_entropy(out.logits[0].float(), tokens[start:], reduction="none")


def _rate(step: int, steps: int) -> float:
    rising = max(1, round(steps * _WARM_UP))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


def renumbered(name: str, shift: int) -> str:
    head, _, tail = name.partition(".layers.")
    number, _, rest = tail.partition(".")
    return f"{head}.layers.{int(number) + shift}.{rest}"
