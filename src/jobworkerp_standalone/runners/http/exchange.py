"""Sends a request, follows redirects, and says what it means if there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import httpx

from jobworkerp_standalone.jobs.errors import BadInput, JobError, Retryable
from jobworkerp_standalone.net.addresses import NotPublic
from jobworkerp_standalone.net.pinning import pinned
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.net.urls import PORTS, is_same_origin, shown
from jobworkerp_standalone.runners.base import Call
from jobworkerp_standalone.runners.http.answer import codec_of_answer
from jobworkerp_standalone.runners.http.body import whole
from jobworkerp_standalone.runners.http.order import Headers, Order
from jobworkerp_standalone.runners.http.site import Site, authorization
from jobworkerp_standalone.runners.http.ways import Passage

_ERROR_STATUS: Final = 400
_QUOTED_BYTES: Final = 4096
_SHORT_BYTES: Final = 65_536
_KEPT_METHODS: Final = frozenset({307, 308})
_MAY_BE_SENT_TWICE: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
_BODY_HEADERS: Final = frozenset({b"content-type", b"content-length", b"content-encoding", b"transfer-encoding"})


@asynccontextmanager
async def answered(site: Site, order: Order, rules: FetchRules, call: Call) -> AsyncIterator[httpx.Response]:
    """Send the request; hand out the answer while its body arrives.

    Raises:
        BadInput: it cannot be sent as it is.
        Retryable: there was no answer, it broke off, or its status is an error and the order is strict.
    """
    passage = Passage(await site.ways(order.identity))
    exchange = _Exchange(site, passage, order, rules)
    state, early = "no answer yet", True
    passage.enter()
    try:
        response = await exchange.response()
        state = f"{response.status_code} was answered, the body was not complete"
        try:
            if order.strict and response.status_code >= _ERROR_STATUS:
                raise Retryable(f"{exchange.shown}: {await _complaint(response)}")
            yield response
            early = False
        finally:
            await response.aclose()
    except httpx.RequestError as error:
        raise exchange.failure(error) from error
    except asyncio.CancelledError:
        call.last_words = f"{exchange.shown}: {state}"
        raise
    finally:
        await passage.leave(early=early)


class _Connecting:
    """Notes whether a connection was made for a request, or one used again."""

    def __init__(self) -> None:
        self.made = False

    async def __call__(self, event: str, _details: object) -> None:
        self.made = self.made or event == "connection.connect_tcp.started"


class _Exchange:
    def __init__(self, site: Site, passage: Passage, order: Order, rules: FetchRules) -> None:
        self._timeouts = site.timeouts
        self._passage = passage
        self._rules = rules
        self._method = order.method
        self._url = site.url(order)
        self._headers = order.headers
        self._body = order.body
        self._redirects = order.redirects
        self._order = order

    async def response(self) -> httpx.Response:
        """Return the answer at the end of all redirects."""
        response = await self._send(self._request())
        for _ in range(self._redirects):
            if not response.has_redirect_location:
                return response
            await _pass_over(response)
            response = await self._send(*await self._redirected(response))
        if response.has_redirect_location and self._redirects:
            await response.aclose()
            raise BadInput(f"{self.shown}: more than {self._redirects} redirects; ask for the URL where they end")
        return response

    def failure(self, error: httpx.RequestError) -> JobError:
        """Return what it means for the job that there is no answer, or only half of one."""
        timeouts = self._timeouts
        if isinstance(error, httpx.ConnectTimeout):
            return Retryable(f"{self.shown}: timeout: no connection within {timeouts['connect']:g} s")
        if isinstance(error, httpx.TimeoutException):
            return Retryable(f"{self.shown}: timeout: the server was silent for {timeouts['read'] or 0:g} s")
        reason = str(error) or type(error).__name__
        if isinstance(error, httpx.LocalProtocolError):
            return BadInput(f"{self.shown} cannot be sent: {reason}")
        if "CERTIFICATE_VERIFY_FAILED" in reason:
            return BadInput(f"{self.shown}: {reason}; name its authority in SSL_CERT_FILE")
        if isinstance(error, httpx.ConnectError):
            return Retryable(f"{self.shown}: no connection: {reason}")
        return Retryable(f"{self.shown}: the connection broke: {reason}")

    @property
    def shown(self) -> str:
        """Return what was asked for, as texts may show it."""
        return f"{self._method} {shown(self._url)}"

    def _request(self) -> httpx.Request:
        headers = self._headers
        names = {name.lower() for name, _ in headers}
        if b"accept" not in names:
            headers = [*headers, (b"Accept", b"*/*")]
        if b"authorization" not in names and self._url.userinfo:
            headers = [*headers, authorization(self._url)]
        connecting = _Connecting()
        extensions = {"timeout": self._timeouts, "trace": connecting}
        request = httpx.Request(self._method, self._url, headers=headers, content=self._body, extensions=extensions)
        request.method = self._method  # as it was written: the constructor makes it upper case
        return request

    async def _send(self, *requests: httpx.Request) -> httpx.Response:
        """Send the first of the requests, which differ in the address, whose address takes a connection."""
        pool = self._passage.pool(self._url)
        for request in requests[:-1]:
            try:
                return await pool.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await self._send_one(pool, requests[-1])

    async def _send_one(self, pool: httpx.AsyncHTTPTransport, request: httpx.Request) -> httpx.Response:
        """Send a request, twice if an idle connection turned out to be closed by the server and it does no harm."""
        try:
            return await pool.handle_async_request(request)
        except (httpx.ReadError, httpx.WriteError, httpx.RemoteProtocolError):
            if request.extensions["trace"].made or self._method not in _MAY_BE_SENT_TWICE:
                raise
        return await pool.handle_async_request(request)

    async def _redirected(self, response: httpx.Response) -> list[httpx.Request]:
        """Move on to where an answer sends us; return the request for it, one for each address it may go to."""
        target = self._target(response.headers["location"])
        if response.status_code not in _KEPT_METHODS and self._method != "HEAD":
            changed = response.status_code == HTTPStatus.SEE_OTHER or self._method == "POST"
            if changed and self._method != "GET":
                self._method, self._body = "GET", None
                self._headers = _without(self._headers, _BODY_HEADERS)
        leaving = not is_same_origin(target, self._url)
        if leaving:
            self._check_leaving(target)
        self._url = target
        if not leaving:
            return [self._request()]
        self._headers = _without(self._headers, self._order.private_headers)
        try:
            return await pinned(self._request(), self._rules, behind_proxy=self._passage.proxy(target) is not None)
        except NotPublic as error:
            raise BadInput(f"redirected to {shown(target)}: {error} (URL_FETCH_DENY_PRIVATE is on)") from error
        except OSError as error:
            raise Retryable(f"redirected to {shown(target)}: {target.host} cannot be resolved: {error}") from error

    def _check_leaving(self, target: httpx.URL) -> None:
        """Look whether the request may go to another host."""
        kept = "client certificate" if self._order.identity else ""
        if self._order.private_body and self._body is not None:
            kept = "body"
        if kept:
            raise BadInput(
                f"{self.shown}: redirected to {shown(target)}, where the {kept} must not go: "
                "ask that host by itself if it is the right one"
            )

    def _target(self, location: str) -> httpx.URL:
        try:
            target = self._url.join(location)
        except httpx.InvalidURL as error:
            raise Retryable(f"{self.shown}: redirected to what is no URL ({error})") from error
        if target.scheme not in PORTS or not target.host:
            raise BadInput(f"{self.shown}: redirected to {shown(target)}, which is not http or https")
        return target


def _without(headers: Headers, names: frozenset[bytes]) -> Headers:
    return [(name, value) for name, value in headers if name.lower() not in names]


async def _pass_over(response: httpx.Response) -> None:
    """Read a body that nobody needs, if it is short, so that its connection can be used again."""
    passed = 0
    try:
        async for data in response.aiter_raw():
            passed += len(data)
            if passed > _SHORT_BYTES:
                break
    finally:
        await response.aclose()


async def _complaint(response: httpx.Response) -> str:
    """Return the failure text for an error status: with the beginning of the body, which usually says why."""
    body = bytearray()
    async for data in response.aiter_bytes():
        body += data
        if len(body) >= _QUOTED_BYTES:
            break
    field, value = whole(bytes(body), codec_of_answer(response))
    shown = f": {value[:_QUOTED_BYTES]!s}" if field == "content" and value else ""
    return f"the server answered {response.status_code} {response.reason_phrase}".rstrip() + shown
