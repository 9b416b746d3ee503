"""What the fits of all recipes have in common: how data is accepted, and parts of the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xingyue.contract import DatasetReport, FitContext
from xingyue.errors import InvalidRequest

LICENCE: Mapping[str, Any] = {
    "head": "the tenant's own, as its training data",
    "training_data": ["unknown to the platform; the tenant answers for it"],
    "trunk": "Apache-2.0",
    "commercial_use": None,
}
"""Of a head on one of the Apache-2.0 trunks."""


def hear(context: FitContext, report: DatasetReport) -> None:
    """``InvalidRequest`` in the words of the data set's first error; what else was found is told
    in the job's events."""
    if report.errors:
        first = report.errors[0]
        raise InvalidRequest(first.message, code=first.code, param="data")
    for note in report.notes:
        context.say(f"{note.severity}: {note.message}")


def dataset_facts(report: DatasetReport) -> dict[str, Any]:
    return {
        "digest": report.digest,
        "kind": report.kind,
        "classes": dict(report.classes),
        "notes": [
            {"severity": n.severity, "code": n.code, "message": n.message} for n in report.notes
        ],
    }


def write_json(folder: Path, body: Mapping[str, Any]) -> None:
    """``report.json`` in ``folder``, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(body, indent=2, ensure_ascii=False)
    (folder / "report.json").write_text(text + "\n", encoding="utf-8")
