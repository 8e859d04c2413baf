"""The connections of one site: a pool for each way there is, direct or by a proxy."""

from __future__ import annotations

import ssl
from typing import Final

import anyio
import httpx

from jobworkerp_standalone.jobs.errors import Fatal
from jobworkerp_standalone.net.proxies import Proxies

_IDLE_CONNECTION_SEC: Final = 30.0
_IDLE_CONNECTIONS: Final = 100


class Ways:
    """Pools, made when they are first needed, and how many requests use them."""

    def __init__(self, tls: ssl.SSLContext, proxies: Proxies) -> None:
        self._tls = tls
        self._proxies = proxies
        self._pools: dict[str | None, httpx.AsyncHTTPTransport] = {}
        self._users = 0
        self._retired = False
        self._only_http1 = True

    @property
    def retired(self) -> bool:
        """Whether new requests go elsewhere."""
        return self._retired

    def proxy(self, url: httpx.URL) -> str | None:
        """Return the proxy on the way to a URL, if there is one."""
        return self._proxies.between(url)

    def pool(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """Return the pool for a URL."""
        proxy = self.proxy(url)
        found = self._pools.get(proxy)
        if found is None:
            found = self._pools[proxy] = self._new_pool(proxy)
        if url.scheme == "https":
            self._only_http1 = False
        return found

    def enter(self) -> None:
        """Count a request."""
        self._users += 1

    async def leave(self, *, early: bool) -> None:
        """A request has ended.

        Args:
            early: its answer was not read to the end. The library closes an HTTP/1 connection then, and leaves the
                stream of an HTTP/2 connection open without telling the server; that ends with the connection, which
                is closed when nobody else uses it.
        """
        self._users -= 1
        self._retired = self._retired or (early and not self._only_http1)
        if self._retired and not self._users:
            await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        with anyio.CancelScope(shield=True):
            for pool in self._pools.values():
                await pool.aclose()
            self._pools.clear()

    def successor(self) -> Ways:
        """Return the same ways without connections."""
        return Ways(self._tls, self._proxies)

    def _new_pool(self, proxy: str | None) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(
            max_connections=None,  # the slots of the channel bound them
            max_keepalive_connections=_IDLE_CONNECTIONS,
            keepalive_expiry=_IDLE_CONNECTION_SEC,
        )
        try:
            return httpx.AsyncHTTPTransport(verify=self._tls, http2=True, limits=limits, proxy=proxy)
        except (ValueError, ImportError) as error:
            raise Fatal(
                f"the proxy of the environment cannot be used ({error}): correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
            ) from error
