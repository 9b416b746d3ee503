"""``python -m xingyue.catalog.build NAME INPUTS OUTPUT``: one builder, in its own process.

``INPUTS`` is a JSON object of the builder's input names and paths of verified weight files.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from xingyue.catalog.plugins import load_builder


def main(arguments: list[str]) -> None:
    name, inputs, output = arguments
    sources = {role: Path(path) for role, path in json.loads(inputs).items()}
    load_builder(name)(sources, Path(output))


if __name__ == "__main__":
    main(sys.argv[1:])
