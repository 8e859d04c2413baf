"""Tokens of OAuth 2 and OpenID Connect authorities, asked for once and kept until they expire."""

from __future__ import annotations

import base64
import json
import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

import anyio
import anyio.to_thread
import httpx

from jobworkerp_standalone import __version__
from jobworkerp_standalone.jobs.json_in import json_value
from jobworkerp_standalone.net.proxies import Proxies
from jobworkerp_standalone.net.tls import client_tls
from jobworkerp_standalone.net.urls import PORTS, shown
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.workflow.calls.oauth import Grant
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError

_KEPT: Final = 1_000
_TIMEOUT_SEC: Final = 30.0
_MOST_BYTES: Final = 1024 * 1024
_UNKNOWN_SEC: Final = 60.0
"""How long a token is kept whose authority does not say how long it is valid."""
_MARGIN_SEC: Final = 10.0
_UNAVAILABLE: Final = 503
_REDIRECTION: Final = 300
_ERROR_STATUS: Final = 400
_SERVER_ERROR: Final = 500


class Token(NamedTuple):
    """A token."""

    text: str
    is_new: bool
    """It was given just now."""


@dataclass(slots=True)
class _Kept:
    token: str = ""
    until: float = 0.0
    refresh_token: str = ""
    """What an authority gave in place of the grant's refresh token, which it takes once only."""
    asking: anyio.Lock = field(default_factory=anyio.Lock)
    requests: int = 0
    """How many have ended."""
    failure: WorkflowError | None = None
    """Why the last one gave nothing."""


class Tokens:
    """One for each daemon: ``host.shared(Tokens)``. Callers that need the same token share one request for it."""

    def __init__(self, _host: Host) -> None:
        self._kept: OrderedDict[Grant, _Kept] = OrderedDict()

    async def token(self, grant: Grant) -> Token:
        """Return a valid access token.

        Raises:
            WorkflowError: none was given.
        """
        kept = self._kept.setdefault(grant, _Kept())
        self._kept.move_to_end(grant)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        if kept.until > time.monotonic():
            return Token(kept.token, is_new=False)
        before = kept.requests
        async with kept.asking:
            if kept.until <= time.monotonic():
                if kept.failure is not None and kept.requests > before:
                    raise kept.failure  # while this caller waited: a next request would end like it
                await _renew(kept, grant)
            return Token(kept.token, is_new=True)

    def forget(self, grant: Grant, token: str) -> None:
        """Ask anew the next time: a server did not take this token."""
        kept = self._kept.get(grant)
        if kept is not None and kept.token == token:
            kept.until = 0.0


async def _renew(kept: _Kept, grant: Grant) -> None:
    kept.failure = None
    try:
        answer = await _asked(grant, kept.refresh_token)
        kept.token, kept.until = _token(answer, grant), time.monotonic() + _valid_sec(answer)
    except WorkflowError as error:
        kept.failure = error
        kept.refresh_token = ""
        raise
    finally:
        kept.requests += 1
    if isinstance(following := answer.get("refresh_token"), str):
        kept.refresh_token = following


async def _asked(grant: Grant, refresh_token: str) -> dict[str, Any]:
    url = await _discovered(grant) if grant.discovered else grant.token_url
    headers, fields = grant.request(url)
    if refresh_token and "refresh_token" in fields:
        fields["refresh_token"] = refresh_token
    if grant.as_json:
        return await _answer("POST", url, headers, json=fields)
    return await _answer("POST", url, headers, data=fields)


async def _discovered(grant: Grant) -> str:
    found = await _answer("GET", grant.discovery_url, {})
    url = found.get("token_endpoint")
    if not isinstance(url, str):
        raise _failed(f"{grant.discovery_url} names no token_endpoint")
    if _parsed(grant.discovery_url).scheme == "https" and _parsed(url).scheme != "https":
        raise _failed(f"{grant.discovery_url} names {shown(_parsed(url))}, which is not protected")
    return url


async def _answer(method: str, address: str, headers: dict[str, str], **body: Any) -> dict[str, Any]:
    """Ask an authority and return its answer, an object."""
    url = _parsed(address)
    headers = {"Accept": "application/json", "User-Agent": f"jobworkerp-standalone/{__version__}", **headers}
    tls = await anyio.to_thread.run_sync(client_tls)
    proxy = Proxies.of_environment().between(url)
    try:
        with anyio.fail_after(_TIMEOUT_SEC):
            async with (
                httpx.AsyncClient(verify=tls, proxy=proxy, trust_env=False, timeout=_TIMEOUT_SEC) as client,
                client.stream(method, url, headers=headers, **body) as response,
            ):
                content = await _content(response)
    except TimeoutError as error:
        raise _away(url, f"it did not answer within {_TIMEOUT_SEC:g} s") from error
    except (httpx.RequestError, ValueError, ImportError) as error:
        raise _away(url, str(error) or type(error).__name__) from error
    return _object(url, response.status_code, content)


async def _content(response: httpx.Response) -> bytes:
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > _MOST_BYTES:
            raise _failed(f"{shown(response.url)} answered with more than {_MOST_BYTES} bytes")
    return bytes(content)


def _object(url: httpx.URL, status: int, content: bytes) -> dict[str, Any]:
    try:
        value = json_value(content)
    except ValueError:
        value = None
    found = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if status >= _SERVER_ERROR:
        raise _away(url, f"it answered {status}", status)
    if status >= _ERROR_STATUS or "error" in found:
        reasons = (found.get("error"), found.get("error_description"))
        raise _failed(f"{shown(url)} answered {status}: {': '.join(str(each) for each in reasons if each)}")
    if status >= _REDIRECTION:
        raise _failed(f"{shown(url)} answered {status}: it redirects; name the authority where it is")
    if not found:
        raise _failed(f"{shown(url)} did not answer with a JSON object")
    return found


def _token(answer: dict[str, Any], grant: Grant) -> str:
    token = answer.get("access_token")
    if not isinstance(token, str) or not token:
        raise _failed(f"{grant.authority} gave no access_token")
    if grant.issuers and (issuer := _issuer(token)) not in grant.issuers:
        raise _failed(
            f"the token was issued by {issuer or 'nobody that it names'}, not by {' or '.join(grant.issuers)}"
        )
    return token


def _issuer(token: str) -> str | None:
    parts = token.split(".")
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        issuer = claims.get("iss")
    except (IndexError, ValueError, AttributeError):
        return None
    return issuer if isinstance(issuer, str) else None


def _valid_sec(answer: dict[str, Any]) -> float:
    try:
        seconds = float(answer.get("expires_in", _UNKNOWN_SEC))
    except (TypeError, ValueError, OverflowError):
        return _UNKNOWN_SEC
    if not math.isfinite(seconds):
        return _UNKNOWN_SEC
    return seconds - min(_MARGIN_SEC, seconds / 10)


def _parsed(address: str) -> httpx.URL:
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL as error:
        raise Standard.CONFIGURATION.error("An authority is no URL", str(error)) from error
    if url.scheme not in PORTS or not url.host:
        raise Standard.CONFIGURATION.error("An authority is no URL", f"{address!r} is not an http or https URL")
    return url


def _away(url: httpx.URL, why: str, status: int = _UNAVAILABLE) -> WorkflowError:
    return Standard.COMMUNICATION.error("An authority cannot be asked", f"{shown(url)}: {why}", status=status)


def _failed(why: str) -> WorkflowError:
    return Standard.AUTHENTICATION.error("No token was given", why)
