"""Which articles the evidence models are fitted on, and which ones are reported on."""

from __future__ import annotations

import hashlib

FIT = "fit"
REPORT = "report"
SPLIT_NOTE = (
    "Only the development side of each set, split by article (SHA-256 of its name): the evidence "
    "models were fitted on one half, what is reported comes from the other. The data sets' "
    "holdouts were not read."
)


def side(family: str, article: str) -> str:
    """``FIT`` or ``REPORT``. Translations of one article share ``family`` and ``article``."""
    digest = hashlib.sha256(f"{family}/{article}".encode()).digest()
    return FIT if digest[0] < 128 else REPORT
