"""Requests that go to the very addresses that were checked."""

from __future__ import annotations

import httpx

from jobworkerp_standalone.net.addresses import checked_addresses
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.net.urls import port_of


async def pinned(request: httpx.Request, rules: FetchRules, *, behind_proxy: bool) -> list[httpx.Request]:
    """Return the same request for each address that may be asked, in the resolver's order.

    What was checked must be what is asked, so the name is not looked up a second time; behind a proxy it is the proxy
    that looks it up.

    Raises:
        NotPublic: an address of the host may not be asked.
        OSError: the name cannot be resolved.
    """
    url = request.url
    if not rules.deny_private or url.host.lower().rstrip(".") in rules.allowed_hosts:
        return [request]
    addresses = await checked_addresses(url.host, port_of(url))
    return [request] if behind_proxy else [_at(request, address) for address in addresses]


def _at(request: httpx.Request, address: str) -> httpx.Request:
    """Return the request for one address. Its ``Host`` header and the name in the certificate stay."""
    moved = httpx.Request(
        request.method,
        request.url.copy_with(host=address),
        headers=request.headers,
        stream=request.stream,
        extensions=request.extensions | {"sni_hostname": request.url.host},
    )
    moved.method = request.method  # as it was written: the constructor makes it upper case
    return moved
