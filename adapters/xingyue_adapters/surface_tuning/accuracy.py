"""Accuracy of fitted heads on the known sets, by group, on images that were not fitted on.

    python -m xingyue_adapters.surface_tuning.accuracy --data ../shared/data --trunk trunk.onnx

Each set is split into folds by group; for every fold a head is fitted by the recipe's ``fit`` on
the others (which holds out a part of them for its own numbers, and refits), and the fold's image
bytes are answered by the serving family with the exported head. ``--folds-run 1`` runs one fold of
each set, a plain holdout.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xingyue.contract import FitContext, FitResult, RuntimeSpec
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.metrics import Verdicts, auroc
from xingyue_adapters.surface_tuning import recipe
from xingyue_adapters.surface_tuning.classify import folds
from xingyue_adapters.surface_tuning.export import serve


@dataclass(frozen=True, slots=True)
class KnownSet:
    """``group`` is the column that must not be split; "" where every file is its own."""

    name: str
    method: str
    target: str
    group: str = ""
    left_out: tuple[str, ...] = ()
    """Labels that are neither good nor a defect."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    good_max: int = 0
    """Good parts fitted on; 0 is all. One-class heads are fitted on no defect."""


SETS = (
    KnownSet("neu-steel", "classification", "accuracy >= 0.99"),
    KnownSet(
        "elpv-solar",
        "classification",
        "AUROC >= 0.90",
        "index_block",
        ("uncertain",),
    ),
    KnownSet("casting-impeller", "classification", "AUROC >= 0.99"),
    KnownSet("optical-film", "classification", "accuracy >= 0.97", "photo"),
    KnownSet("kolektor-commutator", "one-class", "AUROC >= 0.75", "block"),
    KnownSet("casting-impeller", "one-class", "AUROC >= 0.90"),
    KnownSet("casting-impeller", "one-class", "AUROC >= 0.90", good_max=40),
    KnownSet("magnetic-tile", "one-class", "reported", "tile_group"),
    # Its good frames are all of one pill, so they are divided by file.
    KnownSet("pharma-pill", "one-class", "reported"),
)


def read(known: KnownSet, data: Path) -> list[ImageSample]:
    folder = data / known.name / "dev"
    with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        ImageSample(
            path=folder / row["file"],
            name=row["file"],
            label=row["label"],
            group=row[known.group] if known.group else row["file"],
        )
        for row in rows
        if row["label"] not in known.left_out
    ]


def write_folder(samples: Sequence[ImageSample], folder: Path) -> None:
    """What a tenant would send: the images and a ``manifest.csv`` of file, label and group."""
    with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label", "group"))
        for sample in samples:
            (folder / sample.name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(sample.path, folder / sample.name)
            writer.writerow((sample.name, sample.label, sample.group))


@dataclass(slots=True)
class Tally:
    """Answers of all folds that were run."""

    truth: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    verdicts: list[bool] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    parity: float = 0.0
    bytes: int = 0

    def add(self, truth: str, failed: bool, score: float, classes: Sequence[str]) -> None:
        """An answer; ``classes`` likeliest first, none where the head tells none apart."""
        self.truth.append(truth)
        self.verdicts.append(failed)
        self.scores.append(score)
        self.said.append(classes[0] if classes else "defect" if failed else "good")

    def measures(self) -> dict[str, float]:
        defective = [label != "good" for label in self.truth]
        right = [
            s in (t, "defect") if t != "good" else t == s
            for t, s in zip(self.truth, self.said, strict=True)
        ]
        verdicts = Verdicts.at(defective, [float(v) for v in self.verdicts], 0.5)
        return {
            "accuracy": float(np.mean(right)),
            "auroc": auroc(defective, self.scores),
            "escape_rate": verdicts.escape_rate,
            "overkill_rate": verdicts.overkill_rate,
        }


def measure(
    known: KnownSet,
    data: Path,
    trunk: Path,
    *,
    count: int,
    run: int,
    seed: int,
    settings: Mapping[str, Any],
    threads: int = 1,
    dtype: str = "fp32",
) -> Tally:
    samples = read(known, data)
    tally = Tally()
    for fitted, held in folds(samples, count, seed)[:run]:
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch)
            for name in ("data", "out", "scratch"):
                (home / name).mkdir()
            write_folder(fitting_side(known, [samples[i] for i in fitted], seed), home / "data")
            context = FitContext(
                method=known.method,
                data=home / "data",
                validation=None,
                base=None,
                weights=lambda name: trunk,
                runtime=RuntimeSpec(threads=threads, dtype=dtype),
                hyperparameters={**known.settings, **settings},
                seed=seed,
                out=home / "out",
                scratch=home / "scratch",
            )
            started = time.monotonic()
            result = recipe.fit(context)
            tally.seconds.append(time.monotonic() - started)
            _answer(tally, context, result, [samples[i] for i in held])
    return tally


def fitting_side(known: KnownSet, fitted: list[ImageSample], seed: int) -> list[ImageSample]:
    """What the recipe gets of a fold's fitted side."""
    if known.method != "one-class":
        return fitted
    good = [sample for sample in fitted if not sample.defective]
    order = np.random.default_rng(seed).permutation(len(good))[: known.good_max or len(good)]
    return [good[i] for i in sorted(order.tolist())]


def _answer(
    tally: Tally, context: FitContext, result: FitResult, held: Sequence[ImageSample]
) -> None:
    tally.parity = max(tally.parity, result.parity)
    report = json.loads((result.report / "report.json").read_text(encoding="utf-8"))
    tally.bytes = max(tally.bytes, int(report["head"]["bytes"]))
    for sample, found in zip(held, serve(context, result.head, held), strict=True):
        failed, score = found.value["verdict"] == "fail", float(found.value["score"])
        classes = [str(each["label"]) for each in found.value.get("classes", ())]
        tally.add(sample.label, failed, score, classes)


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    settings = json.loads(options.settings)
    heading = (
        *("set", "method", "images", "accuracy", "AUROC", "escape", "overkill"),
        *("target", "fit s", "parity", "KiB"),
    )
    print("| " + " | ".join(heading) + " |\n" + "|---" * len(heading) + "|", flush=True)
    for known in SETS:
        if options.sets and known.name not in options.sets:
            continue
        if options.methods and known.method not in options.methods:
            continue
        tally = measure(
            known,
            options.data,
            options.trunk,
            count=options.folds,
            run=options.folds_run or options.folds,
            seed=options.seed,
            settings=settings,
            threads=options.threads,
            dtype=options.dtype,
        )
        found = tally.measures()
        cells = (
            known.name + (f", {known.good_max} good" if known.good_max else ""),
            known.method,
            str(len(tally.truth)),
            f"{found['accuracy']:.4f}",
            *(f"{found[name]:.4f}" for name in ("auroc", "escape_rate", "overkill_rate")),
            known.target,
            f"{max(tally.seconds):.1f}",
            f"{tally.parity:.1e}",
            f"{tally.bytes / 1024:.0f}",
        )
        print("| " + " | ".join(cells) + " |", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Accuracy of fitted heads on the known sets.")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--trunk", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", default=[])
    parser.add_argument("--methods", nargs="*", default=[])
    parser.add_argument("--folds", type=int, default=4)
    parser.add_argument("--folds-run", type=int, default=0, help="0 runs all")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--dtype", default="fp32", help="of the trunk's file; int8 for the 8-bit one"
    )
    parser.add_argument("--settings", default="{}", help="hyper-parameters as JSON, for all sets")
    return parser


if __name__ == "__main__":
    main()
