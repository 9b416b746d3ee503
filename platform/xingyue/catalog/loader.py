"""YAML file -> ``Catalog``; every fault with the path of the field that has it."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from xingyue.catalog.spec import Catalog
from xingyue.errors import InvalidRequest


def load_catalog(path: Path) -> Catalog:
    """Read and check ``path``. ``InvalidRequest`` lists every fault, one a line."""
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InvalidRequest(f"no catalogue file at {path}", param="catalog") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"{path} is not YAML: {error}", param="catalog") from error
    try:
        return Catalog.model_validate(raw)
    except ValidationError as error:
        faults = "\n".join(
            f"  {'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}"
            for fault in error.errors()
        )
        raise InvalidRequest(
            f"{path} is not a valid catalogue:\n{faults}", param="catalog"
        ) from error
