"""``dataset``: a tenant's training data, checked here and sent to its own bucket."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from xingyue.catalog.loader import load_catalog
from xingyue.catalog.plugins import load_recipe
from xingyue.cli import access, pushing
from xingyue.cli.dataset_transport import open_transport
from xingyue.cli.output import Json, console, emit_json, emit_rows, errors
from xingyue.contract import DatasetReport, TuningRecipe
from xingyue.errors import InvalidRequest, NotFound
from xingyue.settings import Settings
from xingyue_client import data_plan

dataset = typer.Typer(help="Training data: check, send, list.", no_args_is_help=True)
_COLOURS = {"error": "red", "warning": "yellow", "info": "dim"}


@dataset.command("push")
def push(
    folder: Annotated[Path, typer.Argument(help="A folder, a .zip or a .jsonl.")],
    name: Annotated[str | None, typer.Option(help="Name in the bucket; default: its own.")] = None,
    prune: Annotated[bool, typer.Option(help="Delete stored files that the folder lacks.")] = False,
    as_json: Json = False,
) -> None:
    """Send a data set to your own bucket. Cut off, it goes on where it was."""
    prefix = data_plan.prefix_of(folder, name)
    files = data_plan.local_files(folder, prefix)
    client = access.caller()
    listed = client.datasets.stored(prefix)
    plan = data_plan.plan(files, listed.objects)
    transport = open_transport(client, listed.bucket)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=errors, disable=as_json) as bars:
        task = bars.add_task(f"{len(plan.send)} files", total=plan.send_bytes)
        pushing.run(plan.send, transport.send, lambda size: bars.advance(task, size))
    if prune:
        for key in plan.extra:
            transport.delete(key)
    uri = f"s3://{transport.bucket}/{prefix}"
    answer = {
        "uri": uri,
        "sent": len(plan.send),
        "sent_bytes": plan.send_bytes,
        "kept": len(plan.kept),
        "extra": [] if prune else list(plan.extra),
        "pruned": len(plan.extra) if prune else 0,
    }
    if as_json:
        emit_json(answer)
        return
    console.print(f"sent {len(plan.send)}, already there {len(plan.kept)}")
    if plan.extra and not prune:
        errors.print(
            f"[yellow]{len(plan.extra)} stored files are not in the folder and would be trained "
            "on; --prune deletes them[/]"
        )
    console.print(f"training_file: {uri}", soft_wrap=True, highlight=False)


@dataset.command("list")
def list_datasets(as_json: Json = False) -> None:
    """Data sets in your bucket."""
    listed = access.caller().datasets.stored()
    rows: dict[str, dict[str, Any]] = {}
    for stored in listed.objects:
        name = stored.key.removeprefix(data_plan.ROOT).split("/")[0]
        uri = f"s3://{listed.bucket}/{data_plan.ROOT}{name}/"
        row = rows.setdefault(name, {"name": name, "files": 0, "size_bytes": 0, "uri": uri})
        row["files"] += 1
        row["size_bytes"] += stored.size_bytes
    emit_rows(list(rows.values()), ["name", "files", "size_bytes", "uri"], as_json=as_json)


@dataset.command("validate")
def validate(
    folder: Annotated[Path, typer.Argument(exists=True, help="A folder, a .zip or a .jsonl.")],
    model: Annotated[str, typer.Option(help="The base model to train on.")],
    method: Annotated[str | None, typer.Option(help="How; default: the model's only one.")] = None,
    as_json: Json = False,
) -> None:
    """Judge a data set here, before anything is sent. Exit code 1 where training is refused."""
    recipe = _recipe(model)
    chosen = _method(recipe, model, method)
    with tempfile.TemporaryDirectory(prefix="xingyue-validate-") as scratch:
        report = recipe.validate(folder.resolve(), chosen, Path(scratch))
    if as_json:
        emit_json(_shape(report, model, chosen))
    else:
        _print(report, model, chosen)
    if report.errors:
        raise typer.Exit(1)


def _recipe(model: str) -> TuningRecipe:
    settings = Settings().resolved()
    entry = load_catalog(settings.catalog).entry(model)
    if entry is None:
        raise NotFound(f"no model {model!r} in {settings.catalog}", param="model")
    recipe = load_recipe(entry.recipe) if entry.recipe is not None else None
    if not isinstance(recipe, TuningRecipe):
        raise InvalidRequest(
            f"{model} can't be fine-tuned: it has no training recipe", param="model"
        )
    return recipe


def _method(recipe: TuningRecipe, model: str, method: str | None) -> str:
    if method is None and len(recipe.methods) == 1:
        return next(iter(recipe.methods))
    if method is None or method not in recipe.methods:
        known = "; ".join(f"{name}: {words}" for name, words in recipe.methods.items())
        asked = "give --method" if method is None else f"no method {method!r}"
        raise InvalidRequest(f"{asked} for {model}: {known}", param="method")
    return method


def _shape(report: DatasetReport, model: str, method: str) -> dict[str, Any]:
    return {
        "model": model,
        "method": method,
        "valid": not report.errors,
        "digest": report.digest,
        "kind": report.kind,
        "samples": report.samples,
        "classes": dict(report.classes),
        "notes": [
            {
                "severity": note.severity,
                "code": note.code,
                "message": note.message,
                "files": list(note.files),
            }
            for note in report.notes
        ],
    }


def _print(report: DatasetReport, model: str, method: str) -> None:
    rows = [{"class": label, "samples": count} for label, count in report.classes.items()]
    console.print(f"{report.samples} samples ({report.kind})")
    emit_rows(rows, ["class", "samples"], as_json=False)
    for note in report.notes:
        console.print(f"[{_COLOURS[note.severity]}]{note.severity}[/] ", end="")
        console.print(f"{note.code}: {note.message}", markup=False, soft_wrap=True)
    verdict = "refused" if report.errors else "fit"
    console.print(f"{verdict} for {method} on {model}; version {report.digest}", soft_wrap=True)
