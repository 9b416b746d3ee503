"""Environments of the served peers, under ``benchmarks/.venvs``, from their pinned requirements."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterable

from xingyue_benchmarks.served_kinds import ENVIRONMENTS, Kind

_STAMP = ".installed"


def install(kinds: Iterable[Kind], say: Callable[[str], None]) -> list[str]:
    """Names of those that could not be installed; the others are tried all the same."""
    return [kind.name for kind in kinds if not _one(kind, say)]


def _one(kind: Kind, say: Callable[[str], None]) -> bool:
    requirements = kind.requirements
    if requirements is None:
        say(f"{kind.name}: {kind.package} {kind.version()} of the platform's environment")
        return True
    folder = ENVIRONMENTS / kind.name
    wanted = hashlib.sha256(requirements.read_bytes()).hexdigest()
    stamp = folder / _STAMP
    if stamp.is_file() and stamp.read_text(encoding="utf-8") == wanted and kind.version():
        say(f"{kind.name}: {kind.package} {kind.version()} is there")
        return True
    say(f"{kind.name}: installing into {folder}")
    pip = [str(kind.python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    steps = [[sys.executable, "-m", "venv", str(folder)], [*pip, "-r", str(requirements)]]
    if any(subprocess.run(step).returncode for step in steps):
        say(f"{kind.name}: not installed; see above")
        return False
    stamp.write_text(wanted, encoding="utf-8")
    say(f"{kind.name}: {kind.package} {kind.version()}")
    return True
