"""What a split must keep together, and the split itself: whole groups, never single pictures.

Two pictures of one part look alike: with one on each side, the measured accuracy is a fiction.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from xingyue.errors import InvalidRequest

_NUMBERED = re.compile(r"^(.+?)[_-]\d+$")
_PER_GROUP_MAX = 10
"""More pictures per group than this, on average, and the stripped name is not a part's."""


def groups_from_names(labels: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Name of every image -> group, and what it is made of: ``file name`` or ``file``.

    ``part7_1.jpg`` and ``part7_2.jpg`` are one part, but ``crack_1.jpg`` and ``crack_2.jpg`` are
    not: a trailing number is taken off only where that leaves several groups in every class.
    """
    stripped = {name: _strip(name) for name in labels}
    if len(set(stripped.values())) == len(labels):
        return {name: name for name in labels}, "file"
    by_label: dict[str, set[str]] = defaultdict(set)
    for name, label in labels.items():
        by_label[label].add(stripped[name])
    for label, count in Counter(labels.values()).items():
        if count > 1 and len(by_label[label]) < max(2, math.ceil(count / _PER_GROUP_MAX)):
            return {name: name for name in labels}, "file"
    return stripped, "file name"


def _strip(name: str) -> str:
    stem = os.path.splitext(os.path.basename(name))[0]
    match = _NUMBERED.match(stem)
    # Only a number goes off, so that a group is the same in every class's folder.
    return match.group(1) if match else stem


def merge_groups(groups: Sequence[str], alike: Sequence[tuple[int, int]]) -> list[str]:
    """Groups with those joined that hold samples of a pair in ``alike`` (indices)."""
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for left, right in alike:
        first, second = sorted((root(groups[left]), root(groups[right])))
        parent[second] = first
    return [root(group) for group in groups]


class Grouped(Protocol):
    @property
    def label(self) -> str: ...

    @property
    def group(self) -> str: ...


Sample = TypeVar("Sample", bound=Grouped)


def split_by_group(
    samples: Sequence[Sample], *, share: float, seed: int
) -> tuple[list[Sample], list[Sample]]:
    """``(fitted on, held out)``: about ``share`` of every label held out, whole groups each.

    Stratified as far as groups allow: a label with two groups or more is on both sides, one with
    a single group stays on the first. Equal samples, share and seed give an equal split, whatever
    their order. ``InvalidRequest`` unless 0 < share < 1.
    """
    if not 0 < share < 1:
        raise InvalidRequest(f"the held-out share must be in (0, 1), got {share}", param="share")
    members: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in samples:
        members[sample.group][sample.label] += 1
    totals = Counter(sample.label for sample in samples)
    left = Counter(label for counts in members.values() for label in counts)
    held: Counter[str] = Counter()
    chosen: set[str] = set()

    def may_go(group: str) -> bool:
        return all(left[label] > 1 for label in members[group])

    def take(group: str) -> None:
        chosen.add(group)
        held.update(members[group])
        left.subtract(members[group].keys())

    def gain(group: str) -> float:
        """By how much the squared distance to the wanted counts falls, relative to them."""
        total = 0.0
        for label, count in members[group].items():
            wanted = share * totals[label]
            gap = wanted - held[label]
            total += (gap**2 - (gap - count) ** 2) / wanted
        return total

    def order(group: str) -> tuple[int, bytes]:
        rarest = min(totals[label] for label in members[group])
        return rarest, hashlib.sha256(f"{seed}/{group}".encode("utf-8", "surrogatepass")).digest()

    ordered = sorted(members, key=order)
    for group in ordered:
        if may_go(group) and gain(group) > 0:
            take(group)
    for label in sorted(totals, key=lambda label: (totals[label], label)):
        if not held[label]:
            free = [g for g in ordered if label in members[g] and g not in chosen and may_go(g)]
            if free:
                take(min(free, key=lambda group: (sum(members[group].values()), order(group))))
    fitted = [sample for sample in samples if sample.group not in chosen]
    return fitted, [sample for sample in samples if sample.group in chosen]
