"""Hyper-parameters of each method, with their bounds (see ``xingyue_adapters.hyperparameters``)."""

from __future__ import annotations

from dataclasses import dataclass

from xingyue_adapters.hyperparameters import AUTO, read
from xingyue_adapters.hyperparameters import choice as _choice
from xingyue_adapters.hyperparameters import number as _number
from xingyue_models.surface_inspection.memory_bank import BANK_MAX, NEIGHBOURS_MAX
from xingyue_models.surface_inspection.patch_head import STRONGEST_MAX

__all__ = ["Classification", "Common", "OneClass", "Segmentation", "read"]


@dataclass(frozen=True, slots=True)
class Common:
    """``escape_cost``  an escaped defect costs as much as so many good parts thrown out
    ``held_out``     share of every label set aside, by group, to measure on
    ``refit``        after measuring, fit the head that is shipped on all images
    """

    escape_cost: float = _number(5.0, 0.1, 1000.0)
    held_out: float = _number(0.25, 0.1, 0.5)
    refit: bool = True


@dataclass(frozen=True, slots=True)
class Classification(Common):
    """``side``            canvas, pixels; 224 shares its trunk pass with every other variant of 224
    ``views``           views of each image fitted on: as it is, then turned and mirrored
    ``brightness``      largest change of brightness of those views, share of the full range
    ``regularisation``  strength; 0 chooses it by cross-validation
    ``folds``           of the cross-validation, by group
    """

    side: int = _choice(224, 128, 160, 192, 224, 256, 288, 320, 384, 448)
    views: int = _choice(4, 1, 2, 4, 8)
    brightness: float = _number(0.03, 0.0, 0.3)
    regularisation: float = _number(0.0, 0.0, 1e6)
    folds: int = _number(4, 2, 10)


@dataclass(frozen=True, slots=True)
class OneClass(Common):
    """``detector``     ``joint`` (the bank, and a network that was taught painted defects),
                     ``memory-bank`` (nearest good patch) or ``gaussian`` (Mahalanobis)
    ``side``         canvas, pixels
    ``windows_max``  most windows that an image larger than the canvas is cut into
    ``exposure``     grey levels ``stretched``, ``as-is``, or by how differently parts are lit
    ``patches``      ``fine`` (small, sharp: cracks, pores) or ``wide`` (smoothed: stains, shapes)
    ``strongest``    cells whose mean distance is the score of a window
    ``bank``         patches kept by the greedy coreset
    ``dimensions``   of a projected patch
    ``neighbours``   nearest patches averaged
    ``painted``      windows that defects are painted over, at most two copies of each (``joint``)
    ``steps``        of the network's training (``joint``)
    ``views``        1, or 2 and 4 to add mirrored views of every good part; 0: by their number
    ``folds``        of the cross-validation by group that calibrates the score
    """

    detector: str = _choice("joint", "joint", "memory-bank", "gaussian")
    side: int = _choice(512, 128, 160, 192, 224, 256, 288, 320, 384, 448, 512, 640, 768)
    windows_max: int = _number(4, 1, 8)
    exposure: str = _choice(AUTO, AUTO, "stretched", "as-is")
    patches: str = _choice("fine", "fine", "wide")
    strongest: int = _number(20, 1, STRONGEST_MAX)
    bank: int = _number(1024, 64, BANK_MAX)
    dimensions: int = _number(64, 16, 152)
    neighbours: int = _number(1, 1, NEIGHBOURS_MAX)
    painted: int = _number(160, 20, 2000)
    steps: int = _number(300, 50, 5000)
    views: int = _choice(0, 0, 1, 2, 4)
    folds: int = _number(8, 2, 10)


@dataclass(frozen=True, slots=True)
class Segmentation(Common):
    """``side``, ``windows_max``  as for one-class
    ``hidden``  width of the thin network
    ``steps``   of its training, ``rate`` the peak learning rate
    ``views``, ``brightness``  views of each image fitted on, as for classification
    ``folds``   of the cross-validation by group that calibrates the score
    """

    side: int = _choice(320, 128, 160, 192, 224, 256, 288, 320, 384, 448)
    windows_max: int = _number(4, 1, 8)
    hidden: int = _number(64, 8, 128)
    steps: int = _number(600, 50, 5000)
    rate: float = _number(3e-3, 1e-5, 0.1)
    views: int = _choice(4, 1, 2, 4)
    brightness: float = _number(0.03, 0.0, 0.3)
    folds: int = _number(3, 2, 10)
