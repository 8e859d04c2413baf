"""Which addresses are public, and which address a host may be asked at."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Final

import anyio

_METADATA: Final = frozenset({IPv4Address("168.63.129.16"), IPv6Address("fd00:ec2::254")})
"""Where clouds tell a machine its secrets, besides the link-local addresses."""
_NAT64: Final = IPv6Network("64:ff9b::/96")


class NotPublic(Exception):
    """A host is at an address that may not be asked."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the public internet; one that stands for an IPv4 address is judged by that."""
    address = _meant_by(address)
    site_local = isinstance(address, IPv6Address) and address.is_site_local
    outside = address.is_multicast or address.is_reserved or address.is_unspecified or site_local
    return address.is_global and not outside and address not in _METADATA


async def checked_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of ``host``, in the resolver's order.

    Raises:
        NotPublic: one of them is not public; the text is a sentence about it.
        OSError: the name cannot be resolved.
    """
    found = [str(entry[4][0]) for entry in await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    for text in found:
        if not is_public(ip_address(text)):
            at = "" if text == host else f"resolves to {text}, which "
            raise NotPublic(f"{host} {at}is not a public address")
    return found


def _meant_by(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour or address
