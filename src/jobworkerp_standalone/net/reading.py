"""The way of one fetch: attempts, redirects, checked addresses, a bounded body."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import anyio
import anyio.to_thread
import httpx

from jobworkerp_standalone import __version__
from jobworkerp_standalone.jobs.errors import FetchError
from jobworkerp_standalone.net.addresses import NotPublic
from jobworkerp_standalone.net.digest import DigestUser
from jobworkerp_standalone.net.identity import BadIdentity
from jobworkerp_standalone.net.pinning import pinned
from jobworkerp_standalone.net.proxies import Proxies
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.net.sinks import Answer, Sink
from jobworkerp_standalone.net.tls import client_tls, tls_of
from jobworkerp_standalone.net.urls import PORTS, shown

_MAY_PASS: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_PAUSE_SEC: Final = 0.2
_HEADERS: Final = {
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": f"jobworkerp-standalone/{__version__}",
}


async def read(url: str, rules: FetchRules, sink: Sink) -> Answer:
    """Read what is at ``url`` into ``sink``.

    Raises:
        FetchError: it could not be had.
    """
    first = _parsed(url)
    reader = _Reader(rules, sink, await anyio.to_thread.run_sync(client_tls), await _own_tls(first, rules))
    with anyio.move_on_after(rules.timeout_sec):
        return await reader.attempts(first)
    raise _failure(
        first, f"it was not read within {rules.timeout_sec:g} s", "try again, or allow more time", may_pass=True
    )


async def _own_tls(url: httpx.URL, rules: FetchRules) -> ssl.SSLContext:
    """Return what the host of the URL is spoken to with."""
    if rules.identity is None:
        return await anyio.to_thread.run_sync(client_tls)
    if url.scheme != "https":
        raise _failure(url, "a client certificate is shown over https only", "give an https URL")
    try:
        return await anyio.to_thread.run_sync(tls_of, rules.identity)
    except BadIdentity as error:
        raise _failure(url, f"its client certificate cannot be used: {error}", "correct the certificate") from error


class _Reader:
    def __init__(self, rules: FetchRules, sink: Sink, tls: ssl.SSLContext, own_tls: ssl.SSLContext) -> None:
        self._rules = rules
        self._usual = {**_HEADERS, "User-Agent": rules.user_agent} if rules.user_agent else _HEADERS
        self._sink = sink
        self._tls = {False: tls, True: own_tls}
        """By whether the host is that of the URL."""
        self._proxies = Proxies.of_environment()
        self._timeout = httpx.Timeout(rules.timeout_sec, connect=rules.connect_timeout_sec)

    async def attempts(self, url: httpx.URL) -> Answer:
        for attempt in range(1, self._rules.attempts):
            try:
                return await self._follow(url)
            except FetchError as error:
                if not error.may_pass:
                    raise
            await anyio.sleep(_PAUSE_SEC * 2**attempt)
        return await self._follow(url)

    async def _follow(self, url: httpx.URL) -> Answer:
        """Follow redirects to the document."""
        origin = _origin(url)
        for _ in range(self._rules.max_redirects + 1):
            at_home = _origin(url) == origin
            headers = {**self._usual, **dict(self._rules.headers if at_home else ())}
            digest = DigestUser(*self._rules.digest) if self._rules.digest and at_home else None
            async with self._response(url, headers, digest, self._tls[at_home]) as response:
                if not response.has_redirect_location:
                    return await self._take(url, response)
                url = _redirected(url, response.headers["location"])
        raise _failure(
            url, f"there were more than {self._rules.max_redirects} redirects", "give the address where they end"
        )

    @asynccontextmanager
    async def _response(
        self, url: httpx.URL, headers: dict[str, str], digest: httpx.Auth | None, tls: ssl.SSLContext
    ) -> AsyncIterator[httpx.Response]:
        """Ask for a URL, at the addresses that were checked; every failure comes out as a ``FetchError``."""
        proxy = self._proxies.between(url)
        requests = await self._requests(httpx.Request("GET", url, headers=headers), proxy)
        try:
            async with self._client(url, proxy, tls) as client:
                response = await _first_to_answer(client, requests, digest)
                try:
                    yield response
                finally:
                    await response.aclose()
        except httpx.ConnectTimeout as error:
            reason = f"no connection within {self._rules.connect_timeout_sec:g} s"
            raise _failure(url, reason, "check host and port", may_pass=True) from error
        except (httpx.RequestError, httpx.InvalidURL) as error:
            untrusted = "CERTIFICATE_VERIFY_FAILED" in str(error)
            remedy = "name its authority in SSL_CERT_FILE" if untrusted else "check the address and the server"
            raise _failure(url, str(error) or type(error).__name__, remedy, may_pass=not untrusted) from error

    def _client(self, url: httpx.URL, proxy: str | None, tls: ssl.SSLContext) -> httpx.AsyncClient:
        try:
            return httpx.AsyncClient(verify=tls, proxy=proxy, trust_env=False, timeout=self._timeout)
        except (ValueError, ImportError) as error:
            reason = f"the proxy of the environment cannot be used ({error})"
            raise _failure(url, reason, "correct HTTP_PROXY, HTTPS_PROXY or ALL_PROXY") from error

    async def _requests(self, request: httpx.Request, proxy: str | None) -> list[httpx.Request]:
        url = request.url
        try:
            return await pinned(request, self._rules, behind_proxy=proxy is not None)
        except NotPublic as error:
            remedy = "use a public address, or have the host allowed in the daemon's settings"
            raise _failure(url, str(error), remedy) from error
        except OSError as error:
            reason = f"{url.host} cannot be resolved ({error})"
            raise _failure(url, reason, "check the name", may_pass=True) from error

    async def _take(self, url: httpx.URL, response: httpx.Response) -> Answer:
        if response.status_code != HTTPStatus.OK:
            reason = f"the server answered {response.status_code} {response.reason_phrase}".rstrip()
            may_pass = response.status_code in _MAY_PASS
            remedy = "try again later" if may_pass else "check the address"
            raise _failure(url, reason, remedy, may_pass=may_pass, status=response.status_code)
        limit = self._rules.max_bytes
        announced = response.headers.get("content-length", "")
        taken = int(announced) if announced.isdecimal() and int(announced) > limit else 0
        await self._sink.restart()
        if not taken:
            async for piece in response.aiter_bytes():
                taken += len(piece)
                if taken > limit:
                    break
                await self._sink.add(piece)
        if taken > limit:
            raise _failure(
                url, f"it is larger than {limit} bytes", "raise the limit (URL_FETCH_MAX_BYTES for what jobs name)"
            )
        return Answer(shown(url), response.headers.get("content-type", ""), response.charset_encoding)


async def _first_to_answer(
    client: httpx.AsyncClient, requests: list[httpx.Request], digest: httpx.Auth | None
) -> httpx.Response:
    """Send the request; where a connection is refused go on to the next address."""
    for request in requests[:-1]:
        try:
            return await client.send(request, stream=True, auth=digest)
        except (httpx.ConnectError, httpx.ConnectTimeout):
            continue
    return await client.send(requests[-1], stream=True, auth=digest)


def _parsed(text: str) -> httpx.URL:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL as error:
        raise FetchError(f"what should be fetched is not a URL ({error}): give one with http:// or https://") from error
    if url.scheme not in PORTS or not url.host:
        raise _failure(
            url, "it is not an http or https URL", "give one that begins with http:// or https:// and a host"
        )
    return url


def _redirected(url: httpx.URL, location: str) -> httpx.URL:
    """Return where a redirect leads. What was asked for by https does not come by http."""
    target = url.join(location)
    if target.scheme not in PORTS or not target.host:
        raise _failure(url, f"it redirects to {shown(target)}", "give the http or https address of the document itself")
    if url.scheme == "https" and target.scheme == "http":
        raise _failure(
            url, f"it redirects to {shown(target)}, which is not protected", "give an address that stays with https"
        )
    return target


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _failure(
    url: httpx.URL, reason: str, remedy: str, *, may_pass: bool = False, status: int | None = None
) -> FetchError:
    return FetchError(f"{shown(url)} could not be read: {reason}; {remedy}", may_pass=may_pass, status=status)
