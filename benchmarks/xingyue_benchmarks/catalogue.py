"""One catalogue per scenario: the shipped one, the benchmarks' own on top, cut to one model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from xingyue.catalog.loader import load_catalog
from xingyue.catalog.spec import Catalog
from xingyue.errors import InvalidRequest
from xingyue_benchmarks.scenario import Scenario

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "catalog.yaml"
OWN = ROOT / "benchmarks" / "catalog.yaml"


def compose(shipped: dict[str, Any], own: dict[str, Any], scenario: Scenario) -> dict[str, Any]:
    """Only the scenario's model and its trunk: an idle replica more would share the cores."""
    models = [m for m in shipped["models"] + own["models"] if m["id"] == scenario.model]
    if not models:
        raise InvalidRequest(f"no catalogue lists {scenario.model!r}", param="model")
    trunks = {**shipped["trunks"], **own["trunks"]}
    name = models[0].get("trunk")
    if name is None:
        raise InvalidRequest(f"{scenario.model} is made of parts; take one of them", param="model")
    if strange := sorted(set(scenario.trunks) - {name}):
        raise InvalidRequest(
            f"{scenario.model} runs on {name}, not on {', '.join(strange)}", param="trunks"
        )
    trunk = {**trunks[name], **scenario.trunks.get(name, {})}
    return {
        "weights": {**shipped["weights"], **own["weights"]},
        "trunks": {name: trunk},
        "models": models[:1],
    }


def write_catalogue(scenario: Scenario, path: Path) -> Catalog:
    """Write the scenario's catalogue to ``path`` and read it back, checked."""
    shipped, own = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (SHIPPED, OWN))
    composed = compose(shipped, own, scenario)
    path.write_text(yaml.safe_dump(composed, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return load_catalog(path)
