"""The catalogue, and a tenant's own account."""

from __future__ import annotations

from xingyue_client.answer import Answer, Call, content, listing, parsed, result
from xingyue_client.endpoint import Endpoint, Group, S
from xingyue_client.records import Account, CatalogEntry, EventPage, Statement, UsageReport
from xingyue_client.request import reading

_FORMS = {"csv": "text/csv", "pdf": "application/pdf", "json": "application/json"}


def list_catalog(
    *,
    industry: str | None = None,
    task: str | None = None,
    q: str | None = None,
    commercial_use: bool | None = None,
) -> Call[tuple[CatalogEntry, ...]]:
    """What may be called, the caller's own variants and those that others listed among it."""
    request = reading(
        "/v1/catalog", industry=industry, task=task, q=q, commercial_use=commercial_use
    )
    return Call(request, listing(CatalogEntry))


def retrieve_entry(model: str) -> Call[CatalogEntry]:
    return Call(reading(f"/v1/catalog/{model}"), result(CatalogEntry))


def account() -> Call[Account]:
    """Balance, vouchers, limits."""
    return Call(reading("/v1/account"), result(Account))


def usage(
    *, start: str | None = None, end: str | None = None, group_by: str = "model"
) -> Call[UsageReport]:
    """Totals in ``[start, end)``, ISO 8601, UTC; default: the last 30 days."""
    return Call(reading("/v1/usage", start=start, end=end, group_by=group_by), result(UsageReport))


def usage_events(cursor: str = "0", *, limit: int = 100) -> Call[EventPage]:
    """CloudEvents after ``cursor``, oldest first; an empty page is the end, for now."""
    request = reading("/v1/usage/events", cursor=cursor, limit=limit)

    def read(answer: Answer) -> EventPage:
        following = answer.headers.get("x-xingyue-cursor", cursor)
        return parsed(EventPage, {"events": answer.json(), "cursor": following}, answer.url)

    return Call(request, read)


def statement(month: str) -> Call[Statement]:
    """``yyyy-mm``, UTC."""
    return Call(reading(f"/v1/statements/{month}"), result(Statement))


def statement_file(month: str, form: str, *, lang: str | None = None) -> Call[bytes]:
    """``form``: csv, pdf or json; ``lang``: zh or en."""
    accept = _FORMS.get(form, form)
    return Call(reading(f"/v1/statements/{month}", accept, lang=lang), content)


class Catalog(Group[S]):
    list = Endpoint(list_catalog)
    retrieve = Endpoint(retrieve_entry)


class Accounts(Group[S]):
    show = Endpoint(account)
    usage = Endpoint(usage)
    usage_events = Endpoint(usage_events)
    statement = Endpoint(statement)
    statement_file = Endpoint(statement_file)
