"""Which groups are held out: whole tiles and whole commutators, never single pictures.

A tile was photographed up to six times and a commutator eight times, so pictures of one group are
near copies. Held out is every group whose SHA-256 of ``<set>/<seed>/<group>`` falls in the lowest
quarter; the seed is the first one (of 0, 1, 2, ...) that leaves every defect class on both sides,
with at least a tenth and at most 35 % of its images (and 100 good tiles) held out. It was chosen
before anything was trained. The calibration groups lie inside the training side.
"""

from __future__ import annotations

HELD_OUT: dict[str, frozenset[str]] = {
    "magnetic-tile": frozenset(  # seed 116
        ["8", "9", "11", "14", "16", "17", "19", "27", "33", "35", "40", "59", "60"]
    ),
    "kolektor-commutator": frozenset(["4", "9", "15", "29", "43", "44"]),  # seed 52
}
"""``tile_group`` of the tiles, ``block`` (one commutator) of the commutators."""

CALIBRATION: dict[str, frozenset[str]] = {
    "magnetic-tile": frozenset(["7", "12", "22", "31", "54", "63"]),
    "kolektor-commutator": frozenset(["10", "33", "47"]),
}
"""Training groups that the calibration run leaves out. Fray is absent: it has too few groups."""

SPLIT_NOTE = (
    "Held-out groups only: whole tiles (tile_group) and whole commutators (block) that the head "
    "was not trained on; committed in split.py."
)


def is_held_out(source: str, group: str) -> bool:
    return group in HELD_OUT[source]


def is_calibration(source: str, group: str) -> bool:
    return group in CALIBRATION[source]
