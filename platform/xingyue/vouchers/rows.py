"""Vouchers within a writing transaction of the ledger: found, ended, their money moved."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Row, select, update

from xingyue.ledger import accounts
from xingyue.ledger.accounts import FundingSource
from xingyue.ledger.journal import Journal
from xingyue.vouchers.models import ALIVE, Conditions, Voucher, VoucherState
from xingyue.vouchers.rules import first_expiring_first
from xingyue.vouchers.tables import vouchers

ENDINGS = {VoucherState.EXPIRED: "voucher_expiry", VoucherState.REVOKED: "voucher_revoke"}
"""Kind of the transfer that takes what is left back, by how the voucher ended."""


def alive_of(journal: Journal, tenant_id: str) -> list[Voucher]:
    """A tenant's vouchers that have not ended, with their balances, first expiring first. Those
    past their time end here."""
    expire_due(journal, vouchers.c.tenant_id == tenant_id)
    rows = journal.connection.execute(
        select(vouchers).where(
            vouchers.c.tenant_id == tenant_id, vouchers.c.state == VoucherState.ASSIGNED
        )
    ).all()
    journal.load(accounts.voucher_balance(row.id) for row in rows)
    return first_expiring_first(
        voucher_of(row, journal.balance_micros(accounts.voucher_balance(row.id))) for row in rows
    )


def expire_due(journal: Journal, *conditions: ColumnElement[bool]) -> int:
    """End what is past its time; how many. Money in calls that are running follows as they end."""
    due = journal.connection.scalars(
        select(vouchers.c.id).where(
            vouchers.c.state.in_(ALIVE), vouchers.c.valid_until <= journal.now, *conditions
        )
    ).all()
    for voucher_id in due:
        end(journal, voucher_id, VoucherState.EXPIRED)
    return len(due)


def end(journal: Journal, voucher_id: str, state: VoucherState) -> None:
    """Make a voucher that is alive pay no more, and take back what it has left."""
    ended = journal.connection.execute(
        update(vouchers)
        .where(vouchers.c.id == voucher_id, vouchers.c.state.in_(ALIVE))
        .values(state=state, ended_at=journal.now)
    )
    if ended.rowcount:
        _sweep(journal, voucher_id, state)


def give_back(journal: Journal, amounts: Iterable[tuple[str, int]], kind: str) -> None:
    """Return what calls had set aside (voucher id, micros) and did not spend. Of a voucher that
    ended meanwhile it goes on to where the money came from."""
    freed = [(voucher_id, amount) for voucher_id, amount in amounts if amount]
    if not freed:
        return
    for voucher_id, amount in freed:
        journal.transfer(
            accounts.voucher_held(voucher_id), accounts.voucher_balance(voucher_id), amount, kind
        )
    sweep_ended(journal, [voucher_id for voucher_id, _ in freed])


def sweep_ended(journal: Journal, voucher_ids: Iterable[str]) -> None:
    """Take back what came to vouchers after their end."""
    rows = journal.connection.execute(
        select(vouchers.c.id, vouchers.c.state).where(
            vouchers.c.id.in_(set(voucher_ids)), vouchers.c.state.in_(tuple(ENDINGS))
        )
    ).all()
    for row in rows:
        _sweep(journal, row.id, VoucherState(row.state))


def _sweep(journal: Journal, voucher_id: str, state: VoucherState) -> None:
    account = accounts.voucher_balance(voucher_id)
    journal.transfer(
        account,
        accounts.funding(FundingSource.VOUCHER),
        journal.balance_micros(account),
        ENDINGS[state],
    )


def voucher_of(row: Row[Any], balance_micros: int = 0, held_micros: int = 0) -> Voucher:
    return Voucher(
        id=row.id,
        code=row.code,
        amount_micros=row.amount_micros,
        conditions=Conditions(
            valid_from=row.valid_from,
            valid_until=row.valid_until,
            models=_names(row.models),
            industries=_names(row.industries),
            share_percent=row.share_percent,
            unaffiliated_only=row.unaffiliated_only,
        ),
        tenant_id=row.tenant_id,
        contract=row.contract,
        batch=row.batch,
        state=VoucherState(row.state),
        created_at=row.created_at,
        assigned_at=row.assigned_at,
        ended_at=row.ended_at,
        balance_micros=balance_micros,
        held_micros=held_micros,
    )


def _names(text: str | None) -> frozenset[str]:
    return frozenset(json.loads(text)) if text else frozenset()
