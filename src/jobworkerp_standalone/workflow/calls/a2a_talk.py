"""Requests to an agent: JSON-RPC over HTTP, answered at once or by a stream of events."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final, cast
from uuid import uuid4

import anyio
import anyio.to_thread
import httpx

from jobworkerp_standalone import __version__
from jobworkerp_standalone.net.addresses import NotPublic
from jobworkerp_standalone.net.digest import DigestUser
from jobworkerp_standalone.net.events import event_data
from jobworkerp_standalone.net.identity import BadIdentity, Identity
from jobworkerp_standalone.net.pinning import pinned
from jobworkerp_standalone.net.proxies import Proxies
from jobworkerp_standalone.net.rules import FetchRules
from jobworkerp_standalone.net.tls import client_tls, tls_of
from jobworkerp_standalone.net.urls import shown
from jobworkerp_standalone.workflow.calls.a2a_agent import Agent
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text

_CONNECT_SEC: Final = 10.0
_PARTING_SEC: Final = 3.0
"""For telling an agent that nobody waits for its task any more."""
_MOST_BYTES: Final = 64 * 1024 * 1024
_QUOTED: Final = 2_000
_UNAVAILABLE: Final = 503
_REDIRECTION: Final = 300
_EVENTS: Final = "text/event-stream"
_STATUS: Final[Mapping[int, int]] = {
    -32700: 400,
    -32600: 400,
    -32601: 501,
    -32602: 400,
    -32001: 404,
    -32002: 409,
    -32003: 501,
    -32004: 501,
    -32005: 415,
    -32006: 502,
    -32007: 501,
    -32008: 400,
    -32009: 400,
}
"""The HTTP status that says the same as a code of JSON-RPC or A2A; 500 for every other."""


@dataclass(frozen=True, slots=True)
class Talk:
    """How an agent is talked to."""

    agent: Agent
    url: httpx.URL
    """Where it is, parsed."""
    headers: Mapping[str, str] = field(repr=False)
    digest: tuple[str, str] | None = field(default=None, repr=False)
    identity: Identity | None = field(default=None, repr=False)
    """A client certificate."""
    rules: FetchRules | None = None
    """What must be allowed, where it is not the document that says where the agent is."""

    async def ask(self, method: str, params: Mapping[str, JSON]) -> JSON:
        """Send a request and return its result.

        Raises:
            WorkflowError: there was none.
        """
        async with self._answered(method, params, "application/json") as response:
            return _result(await _whole(response), response.status_code)

    async def follow(self, method: str, params: Mapping[str, JSON], *, begins: bool) -> list[JSON]:
        """Send a request that a stream answers, and return its events once the last one is there.

        A task that it began is cancelled where the stream is given up, whatever the reason.

        Raises:
            WorkflowError: there was no event, or one of them was an error.
        """
        events: list[JSON] = []
        try:
            async with self._answered(method, params, f"{_EVENTS}, application/json") as response:
                if not response.headers.get("content-type", "").lower().startswith(_EVENTS):
                    return [_result(await _whole(response), response.status_code)]
                async for data in event_data(_bounded(response)):
                    events.append(_result(data, response.status_code))
                    if self.agent.is_last(events[-1]):
                        return events
        except BaseException:
            if begins:
                await self._cancel(events)
            raise
        if not events:
            raise Standard.RUNTIME.error("The agent did not answer", f"{self._shown} ended its stream without an event")
        return events

    async def _cancel(self, events: list[JSON]) -> None:
        task = next((found for each in reversed(events) if (found := self.agent.task_of(each))), None)
        if task is None:
            return
        with anyio.move_on_after(_PARTING_SEC, shield=True):
            # That it has ended, or the agent cannot be reached, is not what went wrong first.
            with suppress(WorkflowError):
                await self.ask(*self.agent.cancellation(task))

    @asynccontextmanager
    async def _answered(self, method: str, params: Mapping[str, JSON], accept: str) -> AsyncIterator[httpx.Response]:
        """Send a request, and hand out the answer while its body arrives.

        Raises:
            WorkflowError: there was none, it broke off, or its status is an error and it does not say why.
        """
        body = json_text({"jsonrpc": "2.0", "id": str(uuid4()), "method": method, "params": dict(params)}).encode()
        headers = {"User-Agent": f"jobworkerp-standalone/{__version__}", **self.headers, **self.agent.headers}
        headers |= {"Content-Type": "application/json", "Accept": accept}
        timeout = httpx.Timeout(_CONNECT_SEC, read=None, write=None, pool=None)
        try:
            tls = await anyio.to_thread.run_sync(tls_of, self.identity) if self.identity else await _usual_tls()
            proxy = Proxies.of_environment().between(self.url)
            async with httpx.AsyncClient(verify=tls, proxy=proxy, trust_env=False, timeout=timeout) as client:
                request = client.build_request("POST", self.url, headers=headers, content=body)
                response = await self._sent(client, request, behind_proxy=proxy is not None)
                try:
                    await _check(response)
                    yield response
                finally:
                    await response.aclose()
        except BadIdentity as error:
            raise Standard.CONFIGURATION.error("A certificate cannot be used", str(error)) from error
        except (httpx.RequestError, ValueError, ImportError, OSError) as error:
            reason = str(error) or type(error).__name__
            raise self._failed(reason) from error

    async def _sent(self, client: httpx.AsyncClient, request: httpx.Request, *, behind_proxy: bool) -> httpx.Response:
        try:
            ways = [request] if self.rules is None else await pinned(request, self.rules, behind_proxy=behind_proxy)
        except NotPublic as error:
            raise Standard.CONFIGURATION.error(
                "An agent may not be asked", f"its card names {self._shown}: {error}; WORKFLOW_ALLOWED_HOSTS allows it"
            ) from error
        auth = DigestUser(*self.digest) if self.digest else httpx.USE_CLIENT_DEFAULT
        for way in ways[:-1]:
            try:
                return await client.send(way, stream=True, auth=auth)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                continue
        return await client.send(ways[-1], stream=True, auth=auth)

    def _failed(self, reason: str) -> WorkflowError:
        return Standard.COMMUNICATION.error(
            "The agent cannot be asked", f"{self._shown}: {reason}", status=_UNAVAILABLE
        )

    @property
    def _shown(self) -> str:
        return shown(self.url)


async def _usual_tls() -> ssl.SSLContext:
    return await anyio.to_thread.run_sync(client_tls)


async def _check(response: httpx.Response) -> None:
    """Look at the status.

    Raises:
        WorkflowError: it is that of an error, and the body is no answer of JSON-RPC.
    """
    status = response.status_code
    if status < _REDIRECTION:
        return
    body = await _whole(response)
    _raise_error(_object(body))
    detail = body[:_QUOTED].decode("utf-8", "replace")
    if response.has_redirect_location:
        detail = f"it redirects to {response.headers['location']}: name that address"
    raise Standard.COMMUNICATION.error(f"The agent answered {status}", detail or None, status=status)


async def _whole(response: httpx.Response) -> bytes:
    return b"".join([piece async for piece in _bounded(response)])


async def _bounded(response: httpx.Response) -> AsyncIterator[bytes]:
    """Yield a body.

    Raises:
        WorkflowError: it is too large.
    """
    size = 0
    async for piece in response.aiter_bytes():
        size += len(piece)
        if size > _MOST_BYTES:
            raise Standard.RUNTIME.error("The agent says too much", f"it answered with more than {_MOST_BYTES} bytes")
        yield piece


def _result(data: bytes, status: int) -> JSON:
    """Return what a JSON-RPC response holds.

    Raises:
        WorkflowError: it holds an error, or is none.
    """
    answer = _object(data)
    _raise_error(answer)
    if answer is None or "result" not in answer:
        quoted = data[:_QUOTED].decode("utf-8", "replace")
        raise Standard.RUNTIME.error(
            "The agent's answer makes no sense", f"it is no JSON-RPC response (status {status}): {quoted}"
        )
    return answer["result"]


def _object(data: bytes) -> dict[str, JSON] | None:
    try:
        value: Any = json.loads(data)
    except ValueError:
        return None
    return cast("dict[str, JSON]", value) if isinstance(value, dict) else None


def _raise_error(answer: Mapping[str, JSON] | None) -> None:
    error = answer.get("error") if answer else None
    if not isinstance(error, dict):
        return
    code, message, data = error.get("code"), error.get("message"), error.get("data")
    detail = f"{message} (code {code})" + (f": {json_text(data)[:_QUOTED]}" if data else "")
    status = _STATUS.get(code, Standard.RUNTIME.status) if isinstance(code, int) else Standard.RUNTIME.status
    raise Standard.RUNTIME.error("The agent refused", detail, status=status)
