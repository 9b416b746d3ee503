"""Where a webhook may lead. Its host is resolved once, checked, and that very address is called:
a name can't lead elsewhere between the check and the call."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass

from xingyue.errors import InvalidRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = frozenset({"100.100.100.200", "192.0.0.192", "fd00:ec2::254"})
"""Clouds' metadata services that are not link-local."""


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """Link-local, metadata, multicast and unspecified addresses are never called."""

    private: bool = True
    """Factories' own networks (10/8, 172.16/12, 192.168/16, fc00::/7, ...)."""
    loopback: bool = True
    """This machine itself."""

    def refusal(self, address: Address) -> str | None:
        """Why it may not be called, or None."""
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is not None:
            address = mapped
        if address.is_link_local or str(address) in _METADATA:
            return "a link-local or metadata address"
        if address.is_multicast or address.is_unspecified:
            return "no address of one machine"
        if address.is_loopback:
            return None if self.loopback else "an address of the platform's own machine"
        if not address.is_global and not self.private:
            return "a private address"
        return None

    async def resolve(self, host: str, port: int) -> str:
        """The first address of the host that may be called. ``InvalidRequest`` if there is
        none, ``OSError`` if the name can't be resolved."""
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        reason = "no address"
        for *_, place in found:
            address = ipaddress.ip_address(str(place[0]).partition("%")[0])
            refused = self.refusal(address)
            if refused is None:
                return str(address)
            reason = f"{address}: {refused}"
        raise InvalidRequest(
            f"{host} may not be called by a webhook ({reason}); give one that may, or ask the "
            "operator (XINGYUE_WEBHOOK_PRIVATE)",
            code="webhook_address",
            param="url",
        )
