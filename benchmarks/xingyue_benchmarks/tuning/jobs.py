"""A fine-tuning job from a folder to an answer, as a vendor does it: pushed, tuned, called."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xingyue.errors import Internal
from xingyue_adapters.datasets import ImageSample
from xingyue_adapters.surface_tuning.accuracy import write_folder
from xingyue_client import Xingyue

_TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Tuned:
    """``callable_s``: from the request that creates the job to the variant's first answer."""

    model: str
    images: int
    push_s: float
    job_s: float
    callable_s: float
    compute_s: int
    cost_micros: int

    def to_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def tune(
    vendor: Xingyue, base: str, method: str, suffix: str, samples: Sequence[ImageSample]
) -> Tuned:
    """``Internal`` with the job's own words where it does not succeed."""
    started_s = time.monotonic()
    uri = push(vendor, suffix, samples)
    pushed_s = time.monotonic()
    job = vendor.fine_tuning.create(base, uri, suffix=suffix, method=method, seed=7)
    while not job.ended:
        if time.monotonic() - pushed_s > _TIMEOUT_S:
            raise Internal(f"the job {job.id} has not ended after {_TIMEOUT_S:g} s")
        time.sleep(0.2)
        job = vendor.fine_tuning.retrieve(job.id)
    if job.status != "succeeded" or job.fine_tuned_model is None:
        raise Internal(f"the job {job.id} is {job.status}: {(job.error or {}).get('message')}")
    job_s = time.monotonic() - pushed_s
    vendor.inspect(job.fine_tuned_model, samples[0].path)
    return Tuned(
        job.fine_tuned_model,
        len(samples),
        round(pushed_s - started_s, 2),
        round(job_s, 2),
        round(time.monotonic() - pushed_s, 2),
        job.usage.compute_seconds,
        job.usage.cost_micros,
    )


def push(vendor: Xingyue, name: str, samples: Sequence[ImageSample]) -> str:
    """Into the vendor's own bucket, with a manifest of labels and groups; where it lies."""
    with tempfile.TemporaryDirectory(prefix="xingyue-tuning-") as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        write_folder(samples, folder)
        return vendor.datasets.push(folder).uri
