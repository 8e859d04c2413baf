"""Where the requests of workers with the same settings go, and the connections kept for them."""

from __future__ import annotations

import ssl
from base64 import b64encode
from collections import OrderedDict
from typing import Final, Protocol

import anyio
import anyio.to_thread
import httpx

from jobworkerp_standalone.jobs.errors import BadInput, Fatal
from jobworkerp_standalone.net.identity import BadIdentity, Identity
from jobworkerp_standalone.net.proxies import Proxies
from jobworkerp_standalone.net.tls import client_tls, tls_of
from jobworkerp_standalone.net.urls import PORTS, is_same_origin, shown, with_query
from jobworkerp_standalone.runners.http.order import Order
from jobworkerp_standalone.runners.http.ways import Ways
from jobworkerp_standalone.runners.messages import settings_of
from jobworkerp_standalone.schema.messages import message_class

_SETTINGS: Final = message_class("jobworkerp.runner.HttpRequestRunnerSettings")
_CONNECT_TIMEOUT_MS: Final = 10_000
_KNOWN_PATHS: Final = 256
_KNOWN_IDENTITIES: Final = 16


class _Settings(Protocol):
    """``jobworkerp.runner.HttpRequestRunnerSettings``."""

    base_url: str
    allow_absolute_path: bool
    connect_timeout_ms: int
    read_timeout_ms: int

    def HasField(self, name: str) -> bool: ...  # noqa: N802 - protobuf's name


class Site:
    """The settings of a worker, read, and the connections kept for them."""

    def __init__(self, settings: _Settings, tls: ssl.SSLContext, proxies: Proxies) -> None:
        self._base = _base(settings.base_url)
        self._anywhere = settings.allow_absolute_path or self._base is None
        connect_ms = settings.connect_timeout_ms if settings.HasField("connect_timeout_ms") else _CONNECT_TIMEOUT_MS
        self.timeouts: dict[str, float | None] = {
            "connect": connect_ms / 1000 or None,
            "read": settings.read_timeout_ms / 1000 or None,
            "write": None,
            "pool": None,
        }
        self._proxies = proxies
        self._ways = Ways(tls, proxies)
        self._private: OrderedDict[Identity, Ways] = OrderedDict()
        """For requests that show a client certificate."""
        self._known: dict[str, httpx.URL] = {}

    def url(self, order: Order) -> httpx.URL:
        """Return where a request goes.

        Raises:
            BadInput: the path is no URL, or leads away from the host of the settings.
        """
        found = self._known.get(order.path)
        if found is None:
            if len(self._known) >= _KNOWN_PATHS:
                self._known.clear()
            found = self._known[order.path] = self._resolved(order.path)
        return with_query(found, order.query)

    async def ways(self, identity: Identity | None) -> Ways:
        """Return the connections for a new request.

        Raises:
            BadInput: the client certificate cannot be used.
        """
        if identity is not None:
            return await self._private_ways(identity)
        if self._ways.retired:
            self._ways = self._ways.successor()
        return self._ways

    async def _private_ways(self, identity: Identity) -> Ways:
        known = self._private.get(identity)
        if known is None:
            try:
                tls = await anyio.to_thread.run_sync(tls_of, identity)
            except BadIdentity as error:
                raise BadInput(f"client_certificate: {error}") from error
            known = self._private.setdefault(identity, Ways(tls, self._proxies))  # others may have been faster
        self._private[identity] = found = known.successor() if known.retired else known
        self._private.move_to_end(identity)
        if len(self._private) > _KNOWN_IDENTITIES:
            await self._private.popitem(last=False)[1].retire()
        return found

    async def aclose(self) -> None:
        """Close every connection."""
        for ways in (self._ways, *self._private.values()):
            await ways.aclose()

    def _resolved(self, path: str) -> httpx.URL:
        try:
            url = self._base.join(path) if self._base else httpx.URL(path)
        except httpx.InvalidURL as error:
            raise BadInput(f"path {path!r} cannot be part of a URL ({error}): correct it") from error
        if url.scheme not in PORTS or not url.host:
            raise BadInput(
                f"path {path!r} does not lead to an http or https URL: give an absolute one, or set base_url"
            )
        if not self._anywhere and self._base and not is_same_origin(url, self._base):
            raise BadInput(
                f"path leads to {shown(url)}, away from the base_url {shown(self._base)}: "
                "use a path of that host, or set allow_absolute_path in the worker's settings"
            )
        return url


async def open_site(data: bytes) -> Site:
    """Read a worker's settings.

    Raises:
        Fatal: they cannot be used.
    """
    settings: _Settings = settings_of(_SETTINGS, data)
    return Site(settings, await anyio.to_thread.run_sync(client_tls), Proxies.of_environment())


def authorization(url: httpx.URL) -> tuple[bytes, bytes]:
    """Return the header for the credentials in a URL."""
    return b"Authorization", b"Basic " + b64encode(f"{url.username}:{url.password}".encode())


def _base(text: str) -> httpx.URL | None:
    if not text:
        return None
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise Fatal(f"base_url is not a URL ({error}): give one like https://example.com/api/") from error
    if url.scheme not in PORTS or not url.host:
        raise Fatal("base_url is not an absolute http or https URL: give one like https://example.com/api/")
    return url
