"""What TLS connections to other machines are checked against."""

from __future__ import annotations

import ssl
from functools import cache, lru_cache

import httpx

from jobworkerp_standalone.net.identity import Identity


@cache
def client_tls() -> ssl.SSLContext:
    """Return the one context for all of them: ``SSL_CERT_FILE`` and ``SSL_CERT_DIR``, else the bundle that came along.

    The first call reads the bundle (30 ms): make it in a thread.
    """
    return httpx.create_ssl_context()


@lru_cache(64)
def tls_of(identity: Identity) -> ssl.SSLContext:
    """Return the same with a client certificate. Call it in a thread.

    Raises:
        BadIdentity: it cannot be used.
    """
    context = httpx.create_ssl_context()
    identity.load_into(context)
    return context
