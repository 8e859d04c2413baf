"""What TLS connections to other machines are checked against."""

from __future__ import annotations

import ssl
from functools import cache

import httpx


@cache
def client_tls() -> ssl.SSLContext:
    """Return the one context for all of them: ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, else the bundle that came along.

    The first call reads the bundle (30 ms): make it in a thread.
    """
    return httpx.create_ssl_context()
