"""Decisions of the outbox, pure: what a URL may be, when to try again, when to give up."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from xingyue.errors import InvalidRequest

PER_TENANT_MAX = 16
URL_MAX = 2_048


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """With the defaults a receiver may be away for about half a day before it is parked."""

    first_s: float = 1.0
    longest_s: float = 3_600.0
    failures_max: int = 24

    def wait_s(self, failures: int, chance: float) -> float:
        """After so many failures in a row (>= 1): doubling, then a random half of it off, so that
        receivers of one broken network do not come back as one. ``chance`` in [0, 1)."""
        doubled = self.first_s * 2.0 ** min(failures - 1, 40)
        return min(self.longest_s, doubled) * (0.5 + chance / 2)


def check_url(url: str) -> None:
    """Shape alone; where it leads is checked when it is about to be called."""
    if len(url) > URL_MAX or not url.isprintable() or " " in url:
        raise InvalidRequest(
            f"url must be at most {URL_MAX} printable characters without blanks", param="url"
        )
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"url can't be read: {error}", param="url") from error
    if parts.scheme not in ("http", "https"):
        raise InvalidRequest(
            f"url must start with http:// or https://; got {parts.scheme or 'no scheme'!r}",
            param="url",
        )
    if not parts.hostname or port == 0:
        raise InvalidRequest("url names no host, or port 0", param="url")
    if parts.username is not None or parts.password is not None:
        raise InvalidRequest(
            "url must hold no user or password; verify the signature instead", param="url"
        )
