"""``call``: one command for every model, whatever its task."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from xingyue.cli import access
from xingyue.cli.documents import make_store, part
from xingyue.cli.output import Json, console, emit_json, emit_rows, errors
from xingyue.client import Client
from xingyue.errors import InvalidRequest
from xingyue.units import format_cny

_Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--document", exists=True, dir_okay=False, help="Ask about this file; repeatable."
    ),
]


def call(
    model: str,
    given: Annotated[str, typer.Argument(metavar="IMAGE|TEXT", help="An image file, or a text.")],
    template: Annotated[Path | None, typer.Option(exists=True, dir_okay=False)] = None,
    heatmap: Annotated[Path | None, typer.Option(help="Write the overlay to this PNG.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Instead of the model's own.")] = None,
    documents: _Files = None,
    vector_store: Annotated[
        str | None, typer.Option(help="Ask about the files of this vector store.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Inspect an image, ask a question or embed a text, by the model's task."""
    client = access.caller()
    task = client.get(f"/v1/catalog/{model}")["task"]
    if task == "inspect":
        _inspect(client, model, Path(given), template, heatmap, threshold, as_json)
    elif task == "embeddings":
        _embed(client, model, given, as_json)
    else:
        store = _store(client, documents, vector_store) if task == "document-qa" else None
        _chat(client, model, given, store, as_json)


def _inspect(
    client: Client,
    model: str,
    image: Path,
    template: Path | None,
    heatmap: Path | None,
    threshold: float | None,
    as_json: bool,
) -> None:
    if not image.is_file():
        raise InvalidRequest(f"there is no file {image}; {model} inspects images", param="image")
    files = {"image": part(image)}
    if template is not None:
        files["template"] = part(template)
    params: dict[str, Any] = {"heatmap": int(heatmap is not None)}
    if threshold is not None:
        params["threshold"] = threshold
    answer = client.request("POST", f"/v1/inspect/{model}", files=files, params=params)
    overlay = answer.pop("heatmap", None)
    if heatmap is not None and overlay:
        heatmap.write_bytes(base64.b64decode(overlay))
    if as_json:
        emit_json(answer)
        return
    console.print(
        f"[bold]{answer['verdict']}[/]  score {answer['score']} (threshold {answer['threshold']})"
        f"  {format_cny(answer['usage']['cost_micros'])}"
    )
    for rows, columns in (
        (answer["defects"], ["label", "score", "box"]),
        (answer.get("classes"), ["label", "score"]),
    ):
        if rows:
            emit_rows(rows, columns, as_json=False)


def _embed(client: Client, model: str, text: str, as_json: bool) -> None:
    answer = client.post("/v1/embeddings", {"model": model, "input": text})
    vector = answer["data"][0]["embedding"]
    if as_json:
        emit_json(answer)
    else:
        start = ", ".join(f"{value:.4f}" for value in vector[:6])
        console.print(f"{len(vector)} dimensions: {start}, …", highlight=False)


def _chat(client: Client, model: str, text: str, store: str | None, as_json: bool) -> None:
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}]}
    if store is not None:
        asked["vector_store_ids"] = [store]
    if as_json:
        emit_json(client.post("/v1/chat/completions", asked))
        return
    annotations: list[dict[str, Any]] = []
    for event in client.stream("/v1/chat/completions", asked | {"stream": True}):
        for choice in event.get("choices", []):
            console.print(choice["delta"].get("content") or "", end="", markup=False)
            annotations += choice["delta"].get("annotations") or []
    console.print()
    for number, annotation in enumerate(annotations, 1):
        cited = annotation["file_citation"]
        page = f", page {cited['page']}" if cited.get("page") else ""
        console.print(f"[{number}] {cited['filename']}{page}: “{cited['quote']}”", markup=False)


def _store(client: Client, documents: list[Path] | None, vector_store: str | None) -> str:
    """The vector store to ask: the one named, or a new one of these files."""
    if vector_store is not None:
        return vector_store
    if not documents:
        raise InvalidRequest(
            "this model answers from documents: give --document FILE or --vector-store ID",
            param="documents",
        )
    with errors.status("indexing"):
        store = make_store(client, documents[0].name, documents)
    errors.print(f"vector store {store}: ask again with --vector-store {store}")
    return store
