"""Times as callers write them."""

from __future__ import annotations

from datetime import UTC, datetime

from xingyue.errors import InvalidRequest


def parse_time(text: str, param: str) -> datetime:
    try:
        # A '+' of an offset arrives as a blank where the caller did not escape it.
        parsed = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError as error:
        raise InvalidRequest(
            f"{param} must be a date or time of ISO 8601, such as 2026-01-31", param=param
        ) from error
    if not 2000 <= parsed.year <= 9998:
        raise InvalidRequest(f"{param} must lie in the years 2000 to 9998", param=param)
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
