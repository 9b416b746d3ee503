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
    """Only the scenario's model, its parts and their trunks: an idle replica more would share the
    cores."""
    listed = {entry["id"]: entry for entry in shipped["models"] + own["models"]}
    if scenario.model not in listed:
        raise InvalidRequest(f"no catalogue lists {scenario.model!r}", param="model")
    wanted = [scenario.model, *listed[scenario.model].get("parts", {}).values()]
    models = [entry for name, entry in listed.items() if name in wanted]
    trunks = {**shipped["trunks"], **own["trunks"]}
    names = list(dict.fromkeys(entry["trunk"] for entry in models if "trunk" in entry))
    if strange := sorted(set(scenario.trunks) - set(names)):
        raise InvalidRequest(
            f"{scenario.model} runs on {', '.join(names)}, not on {', '.join(strange)}",
            param="trunks",
        )
    return {
        "weights": {**shipped["weights"], **own["weights"]},
        "trunks": {name: {**trunks[name], **scenario.trunks.get(name, {})} for name in names},
        "models": models,
    }


def write_catalogue(scenario: Scenario, path: Path) -> Catalog:
    """Write the scenario's catalogue to ``path`` and read it back, checked."""
    shipped, own = (yaml.safe_load(file.read_text(encoding="utf-8")) for file in (SHIPPED, OWN))
    composed = compose(shipped, own, scenario)
    path.write_text(yaml.safe_dump(composed, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return load_catalog(path)
