"""Hyper-parameters of a retrieval fit, with their bounds."""

from __future__ import annotations

from dataclasses import dataclass

from xingyue_adapters.hyperparameters import number, read

__all__ = ["Settings", "read"]


@dataclass(frozen=True, slots=True)
class Settings:
    """``held_out``     share of the pairs set aside, by group, to measure on
    ``refit``          after measuring, fit the head that is shipped on all pairs
    ``rank``           of the map of queries
    ``steps``, ``rate``  of Adam, 128 questions a step; ``rate`` is constant
    ``temperature``    of the contrastive loss
    ``hard_negatives``  nearest wrong passages of each question in the loss, mined four times
    ``regularisation``  squared norm of the map in the loss; 0 chooses it by cross-validation
    ``folds``          of the cross-validation by group
    ``tune_weight``    choose the cosine's share in a hybrid search too
    """

    held_out: float = number(0.25, 0.1, 0.5)
    refit: bool = True
    rank: int = number(32, 1, 256)
    steps: int = number(120, 20, 2000)
    rate: float = number(3e-3, 1e-5, 0.1)
    temperature: float = number(0.05, 0.01, 1.0)
    hard_negatives: int = number(48, 0, 512)
    regularisation: float = number(0.0, 0.0, 100.0)
    folds: int = number(3, 2, 10)
    tune_weight: bool = True
