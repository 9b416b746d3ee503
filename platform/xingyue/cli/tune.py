"""``tune``: fine-tune a model on your own data, and watch it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from xingyue.cli import access, pushing
from xingyue.cli.dataset_transport import open_transport
from xingyue.cli.output import Json, console, emit_json, emit_rows, errors
from xingyue.errors import InvalidRequest
from xingyue.units import format_cny, parse_cny
from xingyue_client import Xingyue, data_plan
from xingyue_client.records import JobEvent

tune = typer.Typer(help="Fine-tune a model on your own data.", no_args_is_help=True)

_Data = Annotated[
    str, typer.Option("--data", help="file-..., s3://<your bucket>/<folder>, or a local folder.")
]


@tune.command("create")
def create(
    model: Annotated[str, typer.Option(help="What to start from.")],
    data: _Data,
    suffix: Annotated[str | None, typer.Option(help="The model's name: <tenant>.<suffix>")] = None,
    method: Annotated[str | None, typer.Option(help="As the model's recipe offers.")] = None,
    validation: Annotated[str | None, typer.Option(help="Data of your own to judge on.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Hyper-parameter name=value; repeatable.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Equal seeds, equal results.")] = None,
    budget: Annotated[str | None, typer.Option(help="Most it may cost, CNY.")] = None,
    watch: Annotated[bool, typer.Option(help="Follow it to its end.")] = False,
    as_json: Json = False,
) -> None:
    """Start a job. A local folder is sent to your bucket first."""
    client = access.caller()
    job = client.fine_tuning.create(
        model,
        _located(client, data, as_json),
        validation_file=None if validation is None else _located(client, validation, as_json),
        suffix=suffix,
        method=method,
        hyperparameters=_pairs(set_),
        seed=seed,
        budget_micros=None if budget is None else _micros(budget),
    )
    if watch:
        _watch(client, job.id, as_json)
    elif as_json:
        emit_json(job.wire())
    else:
        console.print(f"{job.id}: follow it with: xingyue tune watch {job.id}")


@tune.command("list")
def list_jobs(limit: int = 20, as_json: Json = False) -> None:
    """Your jobs, newest first."""
    rows = [job.wire() for job in access.caller().fine_tuning.list(limit=limit)]
    if as_json:
        emit_json(rows)
        return
    for row in rows:
        row |= {"method": row["method"]["type"], "cost": format_cny(row["usage"]["cost_micros"])}
        row["created"] = _moment(row["created_at"])
    columns = ["id", "status", "model", "method", "fine_tuned_model", "cost", "created"]
    emit_rows(rows, columns, as_json=False)


@tune.command("show")
def show(job_id: str, as_json: Json = False) -> None:
    """One job: state, numbers, bill."""
    job = access.caller().fine_tuning.retrieve(job_id).wire()
    if as_json:
        emit_json(job)
    else:
        _print(job)


@tune.command("watch")
def watch_job(job_id: str, as_json: Json = False) -> None:
    """Follow a job to its end. Exit code 1 where it did not succeed."""
    _watch(access.caller(), job_id, as_json)


@tune.command("cancel")
def cancel(job_id: str, as_json: Json = False) -> None:
    """Stop a job; the compute used so far is billed."""
    job = access.caller().fine_tuning.cancel(job_id).wire()
    if as_json:
        emit_json(job)
    else:
        console.print(f"{job['id']} is {job['status']}")


@tune.command("report")
def report(
    job_id: str,
    out: Annotated[Path | None, typer.Option(help="Folder for report.json and pictures.")] = None,
    as_json: Json = False,
) -> None:
    """What was measured on samples that the model was not fitted on."""
    client = access.caller()
    found = client.fine_tuning.report(job_id)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "report.json").write_text(json.dumps(found, ensure_ascii=False, indent=2))
        for name in found["pictures"]:
            (out / name).write_bytes(client.fine_tuning.picture(job_id, name))
        errors.print(f"written to {out}")
    if as_json or out is None:
        emit_json(found)


def _watch(client: Xingyue, job_id: str, as_json: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f}%"))
    with Progress(*columns, TimeElapsedColumn(), console=errors, disable=as_json) as bars:
        tasks: dict[str, TaskID] = {}
        for event in client.fine_tuning.watch(job_id):
            _tell(bars, tasks, event, as_json)
        job = client.fine_tuning.retrieve(job_id).wire()
        if job["status"] == "succeeded":
            _fill(bars)
    if as_json:
        emit_json(job)
    else:
        _print(job)
    if job["status"] != "succeeded":
        raise typer.Exit(1)


def _tell(bars: Progress, tasks: dict[str, TaskID], event: JobEvent, as_json: bool) -> None:
    data = event.data
    if (stage := data.get("stage")) is not None:
        if stage not in tasks:
            _fill(bars)
            tasks[stage] = bars.add_task(stage, total=data["total"])
        bars.update(tasks[stage], completed=data["done"], total=data["total"])
    elif not as_json:
        colour = {"warn": "yellow", "error": "red"}.get(event.level, "dim")
        bars.console.print(event.message, style=colour, markup=False, soft_wrap=True)


def _fill(bars: Progress) -> None:
    """A stage tells how far it is before each step, not after the last; the next one tells that."""
    for task in bars.tasks:
        bars.update(task.id, completed=task.total)


def _print(job: dict[str, Any]) -> None:
    model, usage = job["fine_tuned_model"], job["usage"]
    console.print(f"{job['id']} [bold]{job['status']}[/]  {job['model']} {job['method']['type']}")
    if fault := job["error"]:
        field = f" ({fault['param']})" if fault["param"] else ""
        console.print(f"{fault['code']}{field}: {fault['message']}", markup=False, soft_wrap=True)
    for name, value in sorted((job["metrics"] or {}).items()):
        console.print(f"  {name} {value:.4g}")
    console.print(f"{usage['compute_seconds']} s of compute, {format_cny(usage['cost_micros'])}")
    if model:
        console.print(f"call it: xingyue call {model} IMAGE|TEXT", soft_wrap=True)


def _located(client: Xingyue, data: str, quiet: bool) -> str:
    """The data as the API takes it; a local folder or file is sent first."""
    if data.startswith(("file-", "s3://")):
        return data
    source = Path(data)
    prefix = data_plan.prefix_of(source, None)
    files = data_plan.local_files(source, prefix)
    listed = client.datasets.stored(prefix)
    plan = data_plan.plan(files, listed.objects)
    transport = open_transport(client, listed.bucket)
    with Progress(console=errors, disable=quiet) as bars:
        task = bars.add_task(f"sending {len(plan.send)} files", total=plan.send_bytes)
        pushing.run(plan.send, transport.send, lambda size: bars.advance(task, size))
    if plan.extra:
        errors.print(
            f"[yellow]{len(plan.extra)} files stored before are not in {data} and are trained on "
            "too; xingyue dataset push --prune deletes them[/]"
        )
    return f"s3://{transport.bucket}/{prefix}"


def _pairs(given: list[str] | None) -> dict[str, Any]:
    """``name=value`` each; values that are JSON are taken as such."""
    pairs: dict[str, Any] = {}
    for pair in given or []:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidRequest(f"--set takes name=value, got {pair!r}", param="set")
        try:
            pairs[name] = json.loads(value)
        except ValueError:
            pairs[name] = value
    return pairs


def _micros(budget: str) -> int:
    try:
        return parse_cny(budget)
    except ValueError as error:
        raise InvalidRequest(str(error), param="budget") from error


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
