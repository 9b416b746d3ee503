"""Hyper-parameters of a LoRA fit, with their bounds. OpenAI's three have OpenAI's names."""

from __future__ import annotations

from dataclasses import dataclass

from xingyue_adapters.hyperparameters import AUTO, choice, number, read
from xingyue_models.language_model.adapter import ALPHA_MAX, RANK_MAX

__all__ = ["AUTO", "RATE", "SHAPE", "TARGETS", "Settings", "read"]

RATE = 1e-3
"""Peak learning rate at a multiplier of 1."""
SHAPE = ("rank", "alpha", "layers", "targets")
"""What an adapter can't change when a fit goes on from it."""
TARGETS = {
    "attention": ("q_proj", "v_proj"),
    "all": ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """``n_epochs``  passes over the fitted chats
    ``batch_size``   chats of one step
    ``learning_rate_multiplier``  of ``RATE``; rises over the first tenth, then falls to 0
    ``rank``, ``alpha``  of every pair of matrices; their product is scaled by alpha / rank
    ``dropout``      of what enters a pair
    ``layers``       the last so many layers are adapted; those below are computed once
    ``targets``      ``attention`` (queries and values) or ``all`` (the feed-forward part too)
    ``tokens_max``   of one chat, its answer included; a longer one is refused by name
    ``held_out``     share of the chats set aside, by group, to measure on
    ``answers``      held-out chats that the model as it is and the variant are both asked
    """

    n_epochs: int = number(3, 1, 50)
    batch_size: int = number(4, 1, 64)
    learning_rate_multiplier: float = number(1.0, 0.01, 20.0)
    rank: int = number(8, 1, RANK_MAX)
    alpha: float = number(16.0, 1.0, ALPHA_MAX)
    dropout: float = number(0.0, 0.0, 0.5)
    layers: int = number(6, 1, 128)
    targets: str = choice("all", *TARGETS)
    tokens_max: int = number(512, 32, 4096)
    held_out: float = number(0.2, 0.05, 0.5)
    answers: int = number(6, 1, 64)
