"""``bench``: the benchmarks of a checkout. They are not installed with the platform, and the
platform does not import them: the command hands over to ``python -m xingyue_benchmarks``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

FOLDER = Path(__file__).parents[3] / "benchmarks"


def is_checkout() -> bool:
    return (FOLDER / "xingyue_benchmarks" / "__main__.py").is_file()


def bench(
    words: Annotated[list[str] | None, typer.Argument(metavar="COMMAND ...")] = None,
) -> None:
    """Benchmarks beside peers: run, compare A B, install, smoke (in a checkout; see --help)."""
    # In the place of this process: Ctrl-C reaches the benchmark, which takes its platform down.
    path = os.pathsep.join(filter(None, (str(FOLDER), os.environ.get("PYTHONPATH"))))
    command = [sys.executable, "-m", "xingyue_benchmarks", *(words or ["--help"])]
    sys.stdout.flush()
    os.execve(sys.executable, command, os.environ | {"PYTHONPATH": path})
