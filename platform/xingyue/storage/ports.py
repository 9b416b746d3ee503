"""Loopback ports for the parts of an embedded server, derived so that two can run side by side."""

from __future__ import annotations

import socket

from xingyue.errors import Conflict

# Below the ephemeral range of Linux (32768) and above the range of Ray's workers (10002-19999).
_FIRST, _LAST = 20_000, 32_000


def is_free(port: int) -> bool:
    """Whether ``port`` can be bound on loopback right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_block(anchor: int, size: int) -> list[int]:
    """``size`` free neighbouring ports: the same for the same ``anchor`` while they are free.

    ``Conflict`` when no block is free.
    """
    blocks = (_LAST - _FIRST) // size
    for step in range(blocks):
        first = _FIRST + (anchor + step) % blocks * size
        block = list(range(first, first + size))
        if all(is_free(port) for port in block):
            return block
    raise Conflict(f"no {size} neighbouring ports are free between {_FIRST} and {_LAST}")
