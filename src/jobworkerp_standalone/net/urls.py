"""What texts and checks need to know of a URL."""

from __future__ import annotations

from typing import Final

import httpx

PORTS: Final = {"http": 80, "https": 443}
"""The schemes that are served, and where they listen."""


def shown(url: httpx.URL) -> str:
    """Return a URL as texts may show it: without what may be secret, credentials and query."""
    bare = url.copy_with(userinfo=b"", query=None, fragment=None)
    return f"{bare}?..." if url.query else str(bare)


def port_of(url: httpx.URL) -> int:
    """Return the port, named or not."""
    return url.port or PORTS[url.scheme]


def with_query(url: httpx.URL, query: str) -> httpx.URL:
    """Return a URL with more in its query, which is encoded already."""
    if not query:
        return url
    return url.copy_with(query=b"&".join(part for part in (url.query, query.encode()) if part))


def is_same_origin(one: httpx.URL, other: httpx.URL) -> bool:
    """Whether scheme, host and port are the same."""
    return (one.scheme, one.host, port_of(one)) == (other.scheme, other.host, port_of(other))
