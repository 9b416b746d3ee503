"""The ``memory-and-painted`` head: a memory bank of good patches, and a thin network that was
taught to tell defects painted over good parts, kind by kind, from good surface. What the one does
not find strange the other may take for a crack.

``head.safetensors`` holds ``projection`` (B, D), ``offset`` (D) and ``bank`` (M, D) of a memory
bank, which sees the first B channels of a patch (see ``memory_bank``); ``hidden`` (C, H),
``hidden_bias`` (H), ``weight`` (H, K + 1) and ``bias`` (K + 1) of a network on all C, good first
(see ``segmentation_head``); ``gain`` (K + 1), above 0, and ``shift`` (K + 1).

The evidence of a patch is its distance to the bank and the log-odds of each of the K kinds against
good, each as ``e * gain + shift``. Its distance is ``log(1 + exp(bank))`` and
``log(1 + sum(exp(kinds)))``, added: nothing where nothing speaks, about the strongest where one
does, more where bank and network agree.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from xingyue.contract import HeadFiles
from xingyue.errors import InvalidRequest
from xingyue_models.surface_inspection.manifest import HeadSpec
from xingyue_models.surface_inspection.memory_bank import TENSORS as BANK_TENSORS
from xingyue_models.surface_inspection.memory_bank import MemoryBank, read_bank
from xingyue_models.surface_inspection.patch_head import PatchHead
from xingyue_models.surface_inspection.patches import PatchGrid
from xingyue_models.surface_inspection.segmentation_head import TENSORS as NETWORK_TENSORS
from xingyue_models.surface_inspection.segmentation_head import cell_logits, check_network
from xingyue_models.surface_inspection.tensors import check_shape, read_tensors

KIND = "memory-and-painted"


class MemoryAndPainted:
    """A detector, see the file's own words; ``gain`` and ``shift`` hold the bank's number first."""

    def __init__(
        self,
        bank: MemoryBank,
        network: Mapping[str, NDArray[np.float32]],
        gain: NDArray[np.float32],
        shift: NDArray[np.float32],
    ) -> None:
        self._bank = bank
        self._network = dict(network)
        self._gain = gain
        self._shift = shift

    def evidence(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        """``(P, C)`` -> ``(P, K + 1)``: distance to the bank, log-odds of each kind."""
        own = self._bank.distance(np.ascontiguousarray(patches[:, : self._bank.width]))
        return np.concatenate([own[:, None], log_odds(self._network, patches)], axis=1)

    def distance(self, patches: NDArray[np.float32]) -> NDArray[np.float32]:
        return joined(self.evidence(patches), self._gain, self._shift)

    def nbytes(self) -> int:
        own = (*self._network.values(), self._gain, self._shift)
        return self._bank.nbytes() + sum(values.nbytes for values in own)


def log_odds(
    network: Mapping[str, NDArray[np.float32]], patches: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``(P, C)`` -> ``(P, K)``: of each kind against good."""
    logits = cell_logits(network, patches)
    return np.asarray(logits[:, 1:] - logits[:, :1], np.float32)


def joined(
    evidence: NDArray[np.float32], gain: NDArray[np.float32], shift: NDArray[np.float32]
) -> NDArray[np.float32]:
    """``(..., K + 1)`` -> ``(...)``, 0 or more."""
    found = evidence * gain + shift
    bank, kinds = found[..., 0], found[..., 1:]
    highest = np.maximum(kinds.max(axis=-1), 0)
    painted = np.exp(kinds - highest[..., None]).sum(axis=-1) + np.exp(-highest)
    return np.asarray(np.logaddexp(0, bank) + highest + np.log(painted), np.float32)


def load_memory_and_painted(spec: HeadSpec, files: HeadFiles) -> PatchHead:
    grid = PatchGrid.from_manifest(files.manifest)
    tensors = read_tensors(files, (*BANK_TENSORS, *NETWORK_TENSORS, "gain", "shift"))
    bank = read_bank(tensors, files.manifest)
    if bank.width > grid.width:
        check_shape("projection", tensors["projection"], (grid.width, None))
    check_shape("weight", tensors["weight"], (None, None))
    outputs = tensors["weight"].shape[1]
    check_network(tensors, grid.width, outputs)
    check_shape("gain", tensors["gain"], (outputs,))
    check_shape("shift", tensors["shift"], (outputs,))
    if outputs < 2 or not (tensors["gain"] > 0).all():
        raise InvalidRequest(
            "the network must know at least one kind of defect, and gain must be above 0",
            param="files",
        )
    network = {name: tensors[name] for name in NETWORK_TENSORS}
    detector = MemoryAndPainted(bank, network, tensors["gain"], tensors["shift"])
    return PatchHead.from_manifest(spec, detector, files.manifest)
