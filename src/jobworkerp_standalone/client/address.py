"""Addresses of servers, as people write them."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

DEFAULT_PORT: Final = 9000
_TLS_PORT: Final = 443
_MAX_PORT: Final = 65_535


class ServerAddress(NamedTuple):
    """Where a server is. ``host`` is without brackets."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"


def parse_server_address(text: str) -> ServerAddress:
    """Read ``http://host:port``, ``https://host``, ``host:port``, ``host`` or ``[ipv6]:port``.

    Without a port, 9000 is meant, with ``https`` 443.

    Raises:
        ValueError: it is none of these.
    """
    text = text.strip()
    mistake = ValueError(f"{text!r} is not the address of a server; write for example http://127.0.0.1:9000")
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise mistake from None
    if (
        parts.scheme not in ("http", "https")
        or not host
        or parts.path not in ("", "/")
        or parts.query
        or parts.username
    ):
        raise mistake
    tls = parts.scheme == "https"
    if port is None:
        port = _TLS_PORT if tls else DEFAULT_PORT
    if not 0 < port <= _MAX_PORT:
        raise mistake
    return ServerAddress(host, port, tls)
