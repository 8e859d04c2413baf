"""The connections of one site, direct or by a proxy.

A pool of the library looks at every connection several times for each request, which with 32 requests in flight costs
more than all the rest. So a plain http connection has a pool of its own, a **lane**, which one request has at a time;
only https, where many requests may share one HTTP/2 connection, has a common pool.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

import anyio
import httpx

from jobworkerp_standalone.jobs.errors import Fatal
from jobworkerp_standalone.net.proxies import Proxies

_IDLE_CONNECTION_SEC: Final = 30.0
_IDLE_CONNECTIONS: Final = 100


@dataclass(slots=True)
class _Lane:
    way: tuple[str | None, str, int | None]
    """Proxy, host and port."""
    pool: httpx.AsyncHTTPTransport
    idle_since: float = 0.0


class Ways:
    """Pools, made when they are first needed, and how many requests use them."""

    def __init__(self, tls: ssl.SSLContext, proxies: Proxies) -> None:
        self._tls = tls
        self._proxies = proxies
        self._pools: dict[str | None, httpx.AsyncHTTPTransport] = {}
        """For https, by proxy."""
        self._idle: list[_Lane] = []
        """The one used last at the end."""
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

    def enter(self) -> None:
        """Count a request."""
        self._users += 1

    def common(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """Return the pool for an https URL."""
        self._only_http1 = False
        proxy = self.proxy(url)
        found = self._pools.get(proxy)
        if found is None:
            found = self._pools[proxy] = self._new_pool(proxy, _IDLE_CONNECTIONS)
        return found

    def take(self, url: httpx.URL) -> _Lane:
        """Return a lane for a plain http URL, one that was used before if there is one."""
        way = (self.proxy(url), url.host, url.port)
        for place in range(len(self._idle) - 1, -1, -1):
            if self._idle[place].way == way:
                return self._idle.pop(place)
        return _Lane(way, self._new_pool(way[0], 1))

    async def leave(self, lanes: list[_Lane], *, early: bool) -> None:
        """A request has ended.

        Args:
            lanes: those it had.
            early: its answer was not read to the end. The library closes an HTTP/1 connection then, and leaves the
                stream of an HTTP/2 connection open without telling the server; that ends with the connection, which
                is closed when nobody else uses it.
        """
        self._users -= 1
        now = anyio.current_time()
        for lane in lanes:
            lane.idle_since = now
            self._idle.append(lane)
        while self._idle and (
            len(self._idle) > _IDLE_CONNECTIONS or now - self._idle[0].idle_since > _IDLE_CONNECTION_SEC
        ):
            with anyio.CancelScope(shield=True):
                await self._idle.pop(0).pool.aclose()
        self._retired = self._retired or (early and not self._only_http1)
        if self._retired and not self._users:
            await self.aclose()

    async def retire(self) -> None:
        """Take no new requests, and close when the last one has ended."""
        self._retired = True
        if not self._users:
            await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        with anyio.CancelScope(shield=True):
            for pool in self._pools.values():
                await pool.aclose()
            self._pools.clear()
            while self._idle:
                await self._idle.pop().pool.aclose()

    def successor(self) -> Ways:
        """Return the same ways without connections."""
        return Ways(self._tls, self._proxies)

    def _new_pool(self, proxy: str | None, kept: int) -> httpx.AsyncHTTPTransport:
        limits = httpx.Limits(
            max_connections=None,  # the slots of the channel bound them
            max_keepalive_connections=kept,
            keepalive_expiry=_IDLE_CONNECTION_SEC,
        )
        try:
            return httpx.AsyncHTTPTransport(verify=self._tls, http2=True, limits=limits, proxy=proxy)
        except (ValueError, ImportError) as error:
            raise Fatal(
                f"the proxy of the environment cannot be used ({error}): correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY"
            ) from error


class Passage:
    """What one request, with its redirects, uses of the ways."""

    def __init__(self, ways: Ways) -> None:
        self._ways = ways
        self._lanes: dict[str, _Lane] = {}

    def enter(self) -> None:
        """Begin; ``leave`` must follow."""
        self._ways.enter()

    def pool(self, url: httpx.URL) -> httpx.AsyncHTTPTransport:
        """Return the pool for a URL."""
        if url.scheme == "https":
            return self._ways.common(url)
        place = url.netloc.decode("ascii")
        if place not in self._lanes:
            self._lanes[place] = self._ways.take(url)
        return self._lanes[place].pool

    def proxy(self, url: httpx.URL) -> str | None:
        """Return the proxy on the way to a URL, if there is one."""
        return self._ways.proxy(url)

    async def leave(self, *, early: bool) -> None:
        """End; ``early`` if the answer was not read to its end."""
        await self._ways.leave(list(self._lanes.values()), early=early)
