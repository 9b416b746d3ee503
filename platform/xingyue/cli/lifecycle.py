"""``weights``, ``serve``, ``up``, ``down``, ``status``."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from pathlib import Path

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn

from xingyue.app import ensure_weights
from xingyue.catalog.loader import load_catalog
from xingyue.cli import daemon
from xingyue.cli.documents import ensure_store
from xingyue.cli.output import Json, console, emit_json, errors
from xingyue.demo import read_env
from xingyue.settings import Settings
from xingyue_client import Xingyue


def weights() -> None:
    """Get and build the weights of the catalogue, each checked against its SHA-256."""
    settings = Settings().resolved()
    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=errors) as bars:

        def show(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=total)
            bars.update(tasks[name], completed=done, total=total)

        ensure_weights(settings, load_catalog(settings.catalog), show)


def serve() -> None:
    """Run the platform in the foreground until SIGTERM or Ctrl-C."""
    settings = Settings().resolved()
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from xingyue.supervisor import run_platform

    ready = settings.home / "platform.ready"
    ready.unlink(missing_ok=True)
    ensure_weights(settings, load_catalog(settings.catalog), lambda *_: None)

    def on_ready() -> None:
        ready.touch()
        typer.echo(f"ready at http://{settings.host}:{settings.port}")

    try:
        run_platform(settings, on_ready)
    finally:
        ready.unlink(missing_ok=True)


def up(as_json: Json = False) -> None:
    """Start the whole platform in the background; a second time it only says where it is."""
    settings = Settings().resolved()
    settings.home.mkdir(parents=True, exist_ok=True)
    weights()
    samples = render_samples(settings.home / "samples")
    with errors.status("starting") as status:
        daemon.start(settings, lambda text: status.update(text))
        keys = read_env(settings.home)
        store = _demo_store(settings, keys, samples)
    if as_json:
        paths = [str(path) for path in samples]
        emit_json({**keys, "samples": paths, "vector_store": store})
        return
    _banner(settings, keys, store)


def render_samples(folder: Path) -> list[Path]:
    """Licence-free samples to try the models on, drawn by the plug-ins themselves."""
    folder.mkdir(parents=True, exist_ok=True)
    return [path for hook in entry_points(group="xingyue.samples") for path in hook.load()(folder)]


def _demo_store(settings: Settings, keys: dict[str, str], samples: list[Path]) -> str | None:
    """The demo tenant's vector store, so that questions can be asked at once."""
    models = {entry.id for entry in load_catalog(settings.catalog).models}
    documents = [path for path in samples if path.suffix == ".md"]
    if "pharma-doc-qa" not in models or not documents:
        return None
    client = Xingyue(keys["XINGYUE_URL"], keys["XINGYUE_API_KEY"])
    return ensure_store(client, "demo-procedures", documents)


def _banner(settings: Settings, keys: dict[str, str], store: str | None) -> None:
    try:
        home: Path = settings.home.relative_to(Path.cwd())
    except ValueError:
        home = settings.home
    auth = f'-H "Authorization: Bearer {keys["XINGYUE_API_KEY"]}"'
    url, samples = keys["XINGYUE_URL"], home / "samples"
    model_ids = {entry.id for entry in load_catalog(settings.catalog).models}
    lines = {
        "appliance-surface-qc": f"curl {url}/v1/inspect/appliance-surface-qc {auth} "
        f'-H "Content-Type: image/png" --data-binary @{samples}/tile-crack.png',
        "lighting-defect-detection": f"curl {url}/v1/inspect/lighting-defect-detection {auth} "
        f"-F image=@{samples}/board-open.png -F template=@{samples}/board-template.png",
        "pharma-doc-qa": f"curl {url}/v1/chat/completions {auth} "
        '-H "Content-Type: application/json" -d '
        f'\'{{"model": "pharma-doc-qa", "vector_store_ids": ["{store}"], '
        '"messages": [{"role": "user", "content": "清洁后的设备最长可以保留多久？"}]}\'',
    }
    console.print(f"[bold]Xingyue is up[/] at {url}  (API page: {url}/docs)")
    console.print(f"key of the demo tenant: {keys['XINGYUE_API_KEY']}", soft_wrap=True)
    console.print(f"all keys are in {home}/demo.env: source it in scripts\n")
    for model, line in lines.items():
        if model in model_ids:
            console.print(line, soft_wrap=True, markup=False, highlight=False)


def down(as_json: Json = False) -> None:
    """Stop everything that `up` started. Nothing is lost."""
    stopped = daemon.stop(Settings().resolved())
    if as_json:
        emit_json({"stopped": stopped})
    else:
        console.print("stopped" if stopped else "it was not running")


def status(as_json: Json = False) -> None:
    """Whether the platform runs and answers."""
    settings = Settings().resolved()
    pid, ready = daemon.running_pid(settings), daemon.is_ready(settings)
    url = f"http://{settings.host}:{settings.port}"
    if as_json:
        emit_json({"pid": pid, "ready": ready, "url": url})
    else:
        console.print(f"{'ready' if ready else 'not ready'}; pid {pid or 'none'}; {url}")
    raise typer.Exit(0 if ready else 1)
