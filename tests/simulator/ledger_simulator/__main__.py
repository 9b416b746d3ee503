"""``PYTHONPATH=tests/simulator python -m ledger_simulator --seeds 5000 --from 1``"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from .world import Disk, simulate


def main() -> int:
    """0 if the promise held under every seed; else 1, and the seed that broke it."""
    parser = argparse.ArgumentParser(prog="ledger_simulator", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, help="how many")
    parser.add_argument("--from", type=int, default=1, dest="first", help="the first seed")
    parser.add_argument("--verbose", action="store_true", help="the meter's own log too")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING if given.verbose else logging.CRITICAL)
    seen: Counter[str] = Counter()
    began = time.monotonic()
    # In memory where there is such a place: what is tried here is order, not the disk.
    shm = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=shm) as folder:
        disk = Disk(Path(folder))
        for number, seed in enumerate(range(given.first, given.first + given.seeds), 1):
            try:
                seen += simulate(disk, seed)
            except BaseException:
                traceback.print_exc()
                print(f"seed {seed} broke the promise; again: --seeds 1 --from {seed}")
                return 1
            if number % 100 == 0:
                print(f"{number} seeds, {time.monotonic() - began:.0f} s", flush=True)
    print(f"{given.seeds} seeds from {given.first} kept the promise. In them:")
    for name, count in seen.most_common():
        print(f"  {count:>8} {name.replace('_', ' ')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
