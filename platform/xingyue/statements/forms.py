"""The JSON form of a statement or report, and its digest."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from decimal import Decimal
from typing import Any

Form = dict[str, Any]
"""Values are text, integers, None, and lists or dicts of them; no floats, so one form has one
text."""

CURRENCY = "CNY"


def canonical(form: Form) -> bytes:
    """UTF-8, keys sorted, no blanks: the bytes that the digest is of, and that are answered."""
    return json.dumps(form, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def digest(form: Form) -> str:
    """``sha256:`` and 64 hex digits, of the canonical JSON."""
    return f"sha256:{hashlib.sha256(canonical(form)).hexdigest()}"


def moment(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def average_price(cost_micros: int, units: int) -> str | None:
    """Micros a unit, as paid on average, to six decimals; None where there is no unit."""
    if units == 0:
        return None
    return format((Decimal(cost_micros) / units).quantize(Decimal("0.000001")).normalize(), "f")


def percent(part: int, whole: int) -> str:
    """To two decimals; ``0.00`` of nothing."""
    share = Decimal(part * 100) / whole if whole else Decimal(0)
    return format(share.quantize(Decimal("0.01")), "f")
