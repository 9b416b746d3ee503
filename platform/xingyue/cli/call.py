"""``call``: one command for every model, whatever its task."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xingyue.cli import access
from xingyue.cli.output import Json, console, emit_json, emit_rows, errors
from xingyue.errors import InvalidRequest
from xingyue.units import format_cny
from xingyue_client import Xingyue
from xingyue_client.results import Citation

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
    input_type: Annotated[
        str | None, typer.Option(help="query or document: a variant of an embedding needs it.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Inspect an image, ask a question or embed a text, by the model's task."""
    client = access.caller()
    task = client.catalog.retrieve(model).task
    if task == "inspect":
        _inspect(client, model, Path(given), template, heatmap, threshold, as_json)
    elif task == "embeddings":
        _embed(client, model, given, input_type, as_json)
    else:
        store = _store(client, documents, vector_store) if task == "document-qa" else None
        _chat(client, model, given, store, as_json)


def _inspect(
    client: Xingyue,
    model: str,
    image: Path,
    template: Path | None,
    heatmap: Path | None,
    threshold: float | None,
    as_json: bool,
) -> None:
    if not image.is_file():
        raise InvalidRequest(f"there is no file {image}; {model} inspects images", param="image")
    verdict = client.inspect(
        model, image, template=template, threshold=threshold, heatmap=heatmap is not None
    )
    if heatmap is not None and verdict.heatmap:
        heatmap.write_bytes(verdict.heatmap)
    answer = verdict.wire()
    answer.pop("heatmap", None)
    if as_json:
        emit_json(answer)
        return
    console.print(
        f"[bold]{verdict.verdict}[/]  score {verdict.score} (threshold {verdict.threshold})"
        f"  {format_cny(verdict.usage.cost_micros)}"
    )
    for rows, columns in (
        (answer["defects"], ["label", "score", "box"]),
        (answer.get("classes"), ["label", "score"]),
    ):
        if rows:
            emit_rows(rows, columns, as_json=False)


def _embed(client: Xingyue, model: str, text: str, input_type: str | None, as_json: bool) -> None:
    answer = client.embed(model, text, input_type=input_type)
    (vector,) = answer.vectors
    if as_json:
        emit_json(answer.wire())
    else:
        start = ", ".join(f"{value:.4f}" for value in vector[:6])
        console.print(f"{len(vector)} dimensions: {start}, …", highlight=False)


def _chat(client: Xingyue, model: str, text: str, store: str | None, as_json: bool) -> None:
    stores = None if store is None else [store]
    if as_json:
        emit_json(client.chat(model, text, vector_store_ids=stores).wire())
        return
    citations: list[Citation] = []
    for event in client.chat_stream(model, text, vector_store_ids=stores):
        console.print(event.text, end="", markup=False)
        citations += event.citations
    console.print()
    for number, cited in enumerate(citations, 1):
        page = f", page {cited.page}" if cited.page else ""
        console.print(f"[{number}] {cited.filename}{page}: “{cited.quote}”", markup=False)


def _store(client: Xingyue, documents: list[Path] | None, vector_store: str | None) -> str:
    """The vector store to ask: the one named, or a new one of these files."""
    if vector_store is not None:
        return vector_store
    if not documents:
        raise InvalidRequest(
            "this model answers from documents: give --document FILE or --vector-store ID",
            param="documents",
        )
    with errors.status("indexing"):
        store = client.vector_stores.of_documents(documents[0].name, documents).id
    errors.print(f"vector store {store}: ask again with --vector-store {store}")
    return store
