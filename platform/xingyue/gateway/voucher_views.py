"""A voucher as the API shows it, and a batch of them as the operator sends it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xingyue.errors import InvalidRequest
from xingyue.gateway.times import parse_time
from xingyue.units import parse_cny
from xingyue.vouchers.models import Conditions, NewVoucher, Voucher, VoucherState

BATCH_MAX = 5000
COLUMNS = {
    "code": "required",
    "amount_micros": "or amount",
    "amount": "CNY, such as 5000 or 12.50",
    "valid_from": "",
    "valid_until": "required",
    "tenant_id": "",
    "models": "separated by blanks",
    "industries": "separated by blanks",
    "share_percent": "",
    "unaffiliated_only": "true or false",
    "contract": "",
}


class VoucherIssue(BaseModel):
    model_config = ConfigDict(extra="forbid")

    code: str
    amount_micros: int
    valid_until: str
    valid_from: str | None = None
    tenant_id: str | None = None
    models: list[str] = Field(default_factory=list)
    industries: list[str] = Field(default_factory=list)
    share_percent: int = 100
    unaffiliated_only: bool = True
    contract: str | None = None
    batch: str | None = None

    def to_new(self, now: datetime) -> NewVoucher:
        start = now if self.valid_from is None else parse_time(self.valid_from, "valid_from")
        return NewVoucher(
            code=self.code,
            amount_micros=self.amount_micros,
            conditions=Conditions(
                valid_from=start,
                valid_until=parse_time(self.valid_until, "valid_until"),
                models=frozenset(self.models),
                industries=frozenset(self.industries),
                share_percent=self.share_percent,
                unaffiliated_only=self.unaffiliated_only,
            ),
            tenant_id=self.tenant_id,
            contract=self.contract,
            batch=self.batch,
            starts_now=self.valid_from is None,
        )


def voucher_row(voucher: Voucher) -> dict[str, Any]:
    terms = voucher.conditions
    alive = voucher.state in (VoucherState.ISSUED, VoucherState.ASSIGNED)
    return {
        "id": voucher.id,
        "code": voucher.code,
        "status": voucher.state.value,
        "tenant_id": voucher.tenant_id,
        "amount_micros": voucher.amount_micros,
        "balance_micros": voucher.balance_micros,
        "held_micros": voucher.held_micros,
        "spent_micros": voucher.spent_micros if alive else None,
        "currency": "CNY",
        "valid_from": terms.valid_from.isoformat(),
        "valid_until": terms.valid_until.isoformat(),
        "models": sorted(terms.models),
        "industries": sorted(terms.industries),
        "share_percent": terms.share_percent,
        "unaffiliated_only": terms.unaffiliated_only,
        "contract": voucher.contract,
        "batch": voucher.batch,
        "assigned_at": voucher.assigned_at.isoformat() if voucher.assigned_at else None,
        "ended_at": voucher.ended_at.isoformat() if voucher.ended_at else None,
    }


def read_batch(text: str, batch: str | None) -> list[VoucherIssue]:
    """A CSV with a header row. InvalidRequest names the line and the column."""
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")))
    unknown = [name for name in reader.fieldnames or () if name not in COLUMNS]
    missing = [name for name in ("code", "valid_until") if name not in (reader.fieldnames or ())]
    if unknown or missing:
        raise InvalidRequest(
            f"the columns of a batch are {', '.join(COLUMNS)}; "
            + (f"unknown: {', '.join(unknown)}" if unknown else f"missing: {', '.join(missing)}"),
            param="body",
        )
    return [_issue(row, line, batch) for line, row in _lines(reader)]


def _lines(reader: Iterable[dict[str, Any]]) -> list[tuple[int, dict[str, str]]]:
    found: list[tuple[int, dict[str, str]]] = []
    for line, row in enumerate(reader, start=2):
        if None in row or None in row.values():
            raise InvalidRequest(
                f"line {line} has not as many fields as there are columns", param="body"
            )
        found.append((line, {name: value.strip() for name, value in row.items()}))
        if len(found) > BATCH_MAX:
            raise InvalidRequest(
                f"a batch holds at most {BATCH_MAX} vouchers; send several", param="body"
            )
    if not found:
        raise InvalidRequest("the batch holds no voucher", param="body")
    return found


def _issue(row: Mapping[str, str], line: int, batch: str | None) -> VoucherIssue:
    fields: dict[str, Any] = {name: value for name, value in row.items() if value}
    amount = fields.pop("amount", None)
    try:
        if amount is not None:
            fields["amount_micros"] = parse_cny(amount)
        for name in ("models", "industries"):
            if name in fields:
                fields[name] = fields[name].split()
        return VoucherIssue.model_validate(fields | {"batch": batch})
    except ValueError as error:
        faults: list[Any] = list(error.errors()) if isinstance(error, ValidationError) else []
        where = f", column {faults[0]['loc'][0]}: {faults[0]['msg']}" if faults else f": {error}"
        raise InvalidRequest(f"line {line} of the batch{where}", param="body") from error
