"""Vouchers for the operator: issued, assigned, revoked, expired, listed. Synchronous.

Every issue is funded in the ledger as it is written: the city's money enters by ``funding:voucher``
and what is not spent goes back there. Rows change state, money moves by new entries only.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, select, update

from xingyue.clock import Clock, SystemClock
from xingyue.errors import Conflict, NotFound
from xingyue.ledger import accounts
from xingyue.ledger.accounts import FundingSource
from xingyue.ledger.journal import Journal
from xingyue.ledger.tables import accounts as balances
from xingyue.storage.database import begin_read, begin_write
from xingyue.storage.witness import decline
from xingyue.vouchers import rows, rules
from xingyue.vouchers.models import ALIVE, NewVoucher, Voucher, VoucherState
from xingyue.vouchers.tables import vouchers


class VoucherStore:
    """Safe to share between threads. The schema must exist."""

    def __init__(self, engine: Engine, *, clock: Clock | None = None) -> None:
        self._engine = engine
        self._clock = clock or SystemClock()

    def issue(self, issues: Sequence[NewVoucher]) -> tuple[list[Voucher], int]:
        """All of a batch or none; the vouchers, and how many of them are new. One whose code is
        there already is left as it is; ``Conflict`` if that one says something else."""
        for each in issues:
            rules.check_new(each)
        with begin_write(self._engine) as connection:
            journal = Journal(connection, self._clock.now())
            new = 0
            ids = []
            for each in issues:
                known = _by_code(connection, each.code)
                if known is None:
                    ids.append(_insert(journal, each))
                    new += 1
                else:
                    _check_same(rows.voucher_of(known), each)
                    ids.append(known.id)
            journal.flush()
            found = {voucher.id: voucher for voucher in _read(connection, vouchers.c.id.in_(ids))}
        return [found[voucher_id] for voucher_id in ids], new

    def assign(self, code: str, tenant_id: str) -> Voucher:
        """Make it a tenant's, once and for all. InvalidRequest if it is another's or has ended."""
        accounts.cash(tenant_id)
        with begin_write(self._engine) as connection:
            journal = Journal(connection, self._clock.now())
            rows.expire_due(journal, vouchers.c.code == code)
            voucher = rows.voucher_of(_known(connection, code))
            refusal = None
            try:
                changes = rules.check_assign(voucher, tenant_id)
            except Exception as error:
                # What expired on the way stays expired.
                refusal, changes = error, False
                decline()
            if changes:
                connection.execute(
                    update(vouchers)
                    .where(vouchers.c.id == voucher.id)
                    .values(
                        tenant_id=tenant_id, state=VoucherState.ASSIGNED, assigned_at=journal.now
                    )
                )
            journal.flush()
            assigned = _read(connection, vouchers.c.id == voucher.id)[0]
        if refusal is not None:
            raise refusal
        return assigned

    def revoke(self, code: str) -> Voucher:
        """Make it pay no more; what is left goes back now, what running calls have set aside as
        they end. Doing it again changes nothing, nor on one that expired."""
        with begin_write(self._engine) as connection:
            journal = Journal(connection, self._clock.now())
            rows.expire_due(journal, vouchers.c.code == code)
            rows.end(journal, _known(connection, code).id, VoucherState.REVOKED)
            journal.flush()
            return _read(connection, vouchers.c.code == code)[0]

    def expire_due(self) -> int:
        """Return what is left of vouchers past their time; how many ended."""
        now = self._clock.now()
        with begin_read(self._engine) as connection:
            due = connection.execute(
                select(vouchers.c.id)
                .where(vouchers.c.state.in_(ALIVE), vouchers.c.valid_until <= now)
                .limit(1)
            ).first()
        if due is None:
            # The writers' lock is not taken for nothing.
            return 0
        with begin_write(self._engine) as connection:
            journal = Journal(connection, now)
            ended = rows.expire_due(journal)
            journal.flush()
            return ended

    def get(self, code: str) -> Voucher:
        with begin_read(self._engine) as connection:
            found = _read(connection, vouchers.c.code == code)
        if not found:
            raise _unknown(code)
        return found[0]

    def find(
        self,
        *,
        tenant_id: str | None = None,
        state: VoucherState | None = None,
        batch: str | None = None,
    ) -> list[Voucher]:
        """First expiring first."""
        conditions = []
        for column, value in (
            (vouchers.c.tenant_id, tenant_id),
            (vouchers.c.state, state),
            (vouchers.c.batch, batch),
        ):
            if value is not None:
                conditions.append(column == value)
        with begin_read(self._engine) as connection:
            return rules.first_expiring_first(_read(connection, *conditions))

    def payable(self, tenant_id: str, now: datetime) -> list[Voucher]:
        """Those that have something to pay with and have not ended; some may begin later."""
        with begin_read(self._engine) as connection:
            found = _read(
                connection,
                vouchers.c.tenant_id == tenant_id,
                vouchers.c.state == VoucherState.ASSIGNED,
                vouchers.c.valid_until > now,
            )
        return [voucher for voucher in found if voucher.balance_micros + voucher.held_micros > 0]


def _insert(journal: Journal, new: NewVoucher) -> str:
    voucher_id = f"vch-{secrets.token_hex(8)}"
    terms = new.conditions
    journal.connection.execute(
        insert(vouchers).values(
            id=voucher_id,
            code=new.code,
            tenant_id=new.tenant_id,
            amount_micros=new.amount_micros,
            valid_from=terms.valid_from,
            valid_until=terms.valid_until,
            models=_text(terms.models),
            industries=_text(terms.industries),
            share_percent=terms.share_percent,
            unaffiliated_only=terms.unaffiliated_only,
            contract=new.contract,
            batch=new.batch,
            state=VoucherState.ASSIGNED if new.tenant_id else VoucherState.ISSUED,
            created_at=journal.now,
            assigned_at=journal.now if new.tenant_id else None,
        )
    )
    journal.transfer(
        accounts.funding(FundingSource.VOUCHER),
        accounts.voucher_balance(voucher_id),
        new.amount_micros,
        "voucher_issue",
        reference=new.code,
    )
    return voucher_id


def _check_same(known: Voucher, new: NewVoucher) -> None:
    conditions = new.conditions
    if new.starts_now:
        conditions = replace(conditions, valid_from=known.conditions.valid_from)
    same = (
        known.amount_micros == new.amount_micros
        and known.conditions == conditions
        and known.contract == new.contract
        and new.tenant_id in (None, known.tenant_id)
    )
    if not same:
        raise Conflict(
            f"voucher {new.code} was issued before with another amount, holder, contract or other "
            "conditions; use a new code for a new voucher",
            code="reference_reused",
            param="code",
        )


def _read(connection: Connection, *conditions: Any) -> list[Voucher]:
    found = connection.execute(select(vouchers).where(*conditions)).all()
    names = [
        name
        for row in found
        for name in (accounts.voucher_balance(row.id), accounts.voucher_held(row.id))
    ]
    stored: dict[str, int] = {}
    for start in range(0, len(names), 500):
        part = names[start : start + 500]
        for row in connection.execute(select(balances).where(balances.c.id.in_(part))):
            stored[row.id] = row.balance_micros
    return [
        rows.voucher_of(
            row,
            stored.get(accounts.voucher_balance(row.id), 0),
            stored.get(accounts.voucher_held(row.id), 0),
        )
        for row in found
    ]


def _by_code(connection: Connection, code: str) -> Row[Any] | None:
    return connection.execute(select(vouchers).where(vouchers.c.code == code)).one_or_none()


def _known(connection: Connection, code: str) -> Row[Any]:
    row = _by_code(connection, code)
    if row is None:
        raise _unknown(code)
    return row


def _unknown(code: str) -> NotFound:
    return NotFound(f"there is no voucher {code!r}", param="code")


def _text(names: frozenset[str]) -> str | None:
    return json.dumps(sorted(names)) if names else None
