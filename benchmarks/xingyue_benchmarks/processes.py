"""Who used the processor: the platform's processes by their part, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

PARTS = ("gateway", "replica", "haproxy", "object store", "ray")


def part_of(command: str) -> str:
    """The part of the platform that a command line belongs to; ``ray`` is all the rest."""
    if "ServeReplica:gateway:" in command:
        return "gateway"
    if "ServeReplica:trunk-" in command:
        return "replica"
    program = Path(command.split("\0", 1)[0]).name
    if program.startswith("haproxy"):
        return "haproxy"
    if program.startswith("weed"):
        return "object store"
    return "ray"


@dataclass(frozen=True, slots=True)
class Usage:
    """``cpu_s`` since the processes started, ``rss_bytes`` now, by part."""

    cpu_s: Mapping[str, float]
    rss_bytes: Mapping[str, int]

    def since(self, before: Usage) -> dict[str, float]:
        """CPU seconds by part. A process that ended meanwhile counts for nothing."""
        return {part: max(0.0, self.cpu_s[part] - before.cpu_s[part]) for part in PARTS}


@dataclass(frozen=True, slots=True)
class Tree:
    """A peer's processes together: ``cpu_s`` since they started, ``rss_bytes`` now."""

    cpu_s: float
    rss_bytes: int


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    session: int
    started_ticks: int
    cpu_s: float
    rss_bytes: int
    command: str
    zombie: bool


def usage(root_pid: int, marker: str) -> Usage:
    """The processes below ``root_pid``, and those whose command line holds ``marker`` (a path of
    this platform alone): HAProxy cuts its ties to its parent."""
    found = _processes()
    cpu_s = dict.fromkeys(PARTS, 0.0)
    rss_bytes = dict.fromkeys(PARTS, 0)
    for pid, process in found.items():
        if marker in process.command or _below(pid, root_pid, found):
            part = part_of(process.command)
            cpu_s[part] += process.cpu_s
            rss_bytes[part] += process.rss_bytes
    return Usage(cpu_s, rss_bytes)


def tree(root_pid: int) -> Tree:
    """``root_pid``, which leads a session, with all below it and all of its session."""
    found = _processes()
    own = [found[pid] for pid in _family(root_pid, found)]
    return Tree(sum(each.cpu_s for each in own), sum(each.rss_bytes for each in own))


def descendants(root_pid: int) -> dict[int, int]:
    """The same processes: pid -> start time, which tells a process from one that got its pid."""
    found = _processes()
    return {pid: found[pid].started_ticks for pid in _family(root_pid, found)}


def alive(pids: Mapping[int, int]) -> set[int]:
    """Those of ``descendants`` that are still there and not mere zombies."""
    found = _processes()
    return {
        pid
        for pid, started in pids.items()
        if pid in found and found[pid].started_ticks == started and not found[pid].zombie
    }


def _family(root_pid: int, found: Mapping[int, _Process]) -> list[int]:
    return [
        pid
        for pid, process in found.items()
        if process.session == root_pid or _below(pid, root_pid, found)
    ]


def _below(pid: int, root_pid: int, found: Mapping[int, _Process]) -> bool:
    while pid > 1:
        if pid == root_pid:
            return True
        process = found.get(pid)
        pid = process.parent if process else 0
    return False


def _processes() -> dict[int, _Process]:
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        cpu_s = (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
        found[int(entry.name)] = _Process(
            parent=int(fields[1]),
            session=int(fields[3]),
            started_ticks=int(fields[19]),
            cpu_s=cpu_s,
            rss_bytes=int(fields[21]) * _PAGE_BYTES,
            command=command,
            zombie=fields[0] == "Z",
        )
    return found
