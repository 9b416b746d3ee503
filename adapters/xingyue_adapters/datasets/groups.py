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
_PASSES = 4
_PER_GROUP_MAX = 10
"""More pictures per group than this, on average, and the stripped name is not a part's."""


def groups_from_names(labels: Mapping[str, str]) -> tuple[dict[str, str], str]:
    """Name of every image -> group, and what it is made of: ``file name`` or ``file``.

    ``part7_1.jpg`` and ``part7_2.jpg`` are one part, but ``crack_1.jpg`` and ``crack_2.jpg`` are
    not: a trailing number is taken off only where that leaves several groups in every class.
    """
    own = {name: name for name in labels}
    parts = {name: match.group(1) for name in labels if (match := _NUMBERED.match(_stem(name)))}
    known = set(parts.values())
    # A bare "part7.jpg" belongs to "part7_1.jpg"; equal bare names in two folders say nothing.
    groups = {
        name: parts.get(name) or (_stem(name) if _stem(name) in known else name) for name in labels
    }
    if len(set(groups.values())) == len(labels):
        return own, "file"
    by_label: dict[str, set[str]] = defaultdict(set)
    for name, label in labels.items():
        by_label[label].add(groups[name])
    for label, count in Counter(labels.values()).items():
        if count > 1 and len(by_label[label]) < max(2, math.ceil(count / _PER_GROUP_MAX)):
            return own, "file"
    return groups, "file name"


def _stem(name: str) -> str:
    return os.path.splitext(os.path.basename(name))[0]


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
    chosen = _Choice(members, share, seed).held_out()
    fitted = [sample for sample in samples if sample.group not in chosen]
    return fitted, [sample for sample in samples if sample.group in chosen]


class _Choice:
    """Which groups to hold out: greedy from the rarest label on, then single moves that help."""

    def __init__(self, members: Mapping[str, Counter[str]], share: float, seed: int) -> None:
        self._members = members
        self._share = share
        self._totals: Counter[str] = Counter()
        for counts in members.values():
            self._totals.update(counts)
        self._left = Counter(label for counts in members.values() for label in counts)
        self._held: Counter[str] = Counter()
        self._chosen: set[str] = set()
        self._ordered = sorted(members, key=lambda group: self._rank(group, seed))

    def held_out(self) -> set[str]:
        for _ in range(_PASSES):
            moved = False
            for group in self._ordered:
                if self._gain(group) > 0 and (group in self._chosen or self._may_go(group)):
                    self._move(group)
                    moved = True
            if not moved:
                break
        for label in sorted(self._totals, key=lambda label: (self._totals[label], label)):
            if not self._held[label]:
                self._hold_one(label)
        return self._chosen

    def _rank(self, group: str, seed: int) -> tuple[int, bytes]:
        rarest = min(self._totals[label] for label in self._members[group])
        return rarest, hashlib.sha256(f"{seed}/{group}".encode()).digest()

    def _may_go(self, group: str) -> bool:
        """A label's last group stays to be fitted on."""
        return all(self._left[label] > 1 for label in self._members[group])

    def _gain(self, group: str) -> float:
        """By how much moving the group to the other side brings the shares nearer."""
        sign = -1 if group in self._chosen else 1
        total = 0.0
        for label, count in self._members[group].items():
            wanted = self._share * self._totals[label]
            gap = wanted - self._held[label]
            total += (gap**2 - (gap - sign * count) ** 2) / wanted**2
        return total

    def _move(self, group: str) -> None:
        counts = self._members[group]
        if group in self._chosen:
            self._chosen.remove(group)
            self._held.subtract(counts)
            self._left.update(counts.keys())
        else:
            self._chosen.add(group)
            self._held.update(counts)
            self._left.subtract(counts.keys())

    def _hold_one(self, label: str) -> None:
        """The smallest group with ``label`` that may go, if there is one."""
        free = [
            group
            for group in self._ordered
            if label in self._members[group] and group not in self._chosen and self._may_go(group)
        ]
        if free:
            self._move(min(free, key=lambda group: sum(self._members[group].values())))
