"""A server at an address: streamable HTTP, or the SSE transport that was before it."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage

from jobworkerp_standalone.runners.mcp.config import Http
from jobworkerp_standalone.runners.mcp.streams import Incoming, Streams

_MAX_EVENT: Final = 64 * 1024 * 1024
_NO_LIMIT_SEC: Final = 1e9
_AHEAD: Final = 64
_DENIED: Final = frozenset({401, 403})


@asynccontextmanager
async def http_streams(transport: Http, connect_sec: float, *, legacy: bool) -> AsyncGenerator[Streams]:
    """Connect to the address.

    Between the session and the transport are streams of ours: a write never waits for the server, so that a call can
    be given up at once, and the end of the transport is seen.

    Raises:
        Exception: as the transport has it, also in groups, at any time.
    """
    outgoing, to_server = anyio.create_memory_object_stream[SessionMessage](math.inf)
    from_server, incoming = anyio.create_memory_object_stream[Incoming](_AHEAD)
    ended = anyio.Event()
    door = _Door()
    connection = _legacy(transport, connect_sec, door) if legacy else _streamable(transport, connect_sec, door)
    async with (
        outgoing,
        to_server,
        from_server,
        incoming,
        connection as (read, write),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(_carry, to_server, write, ended)
        tasks.start_soon(_carry, read, from_server, ended)
        yield Streams(incoming, outgoing, ended, lambda: "it ended the connection", lambda: door.status)
        tasks.cancel_scope.cancel()


async def _carry(
    source: MemoryObjectReceiveStream[Any], target: MemoryObjectSendStream[Any], ended: anyio.Event
) -> None:
    try:
        async with target:
            async for item in source:
                await target.send(item)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        pass
    finally:
        ended.set()


class _Door:
    """Notes that requests are denied; the library tells of every error status in the same words."""

    def __init__(self) -> None:
        self.status = 0

    async def look(self, response: httpx2.Response) -> None:
        if response.request.method == "POST":
            self.status = response.status_code if response.status_code in _DENIED else 0


@asynccontextmanager
async def _streamable(transport: Http, connect_sec: float, door: _Door) -> AsyncGenerator[Any]:
    async with (
        _client(dict(transport.headers), connect_sec, door) as client,
        streamable_http_client(transport.url, http_client=client, max_sse_event_size=_MAX_EVENT) as streams,
    ):
        yield streams


def _legacy(transport: Http, connect_sec: float, door: _Door) -> AbstractAsyncContextManager[Any]:
    def client(
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,  # noqa: ARG001 - the library's promise
        auth: httpx2.Auth | None = None,  # noqa: ARG001
    ) -> httpx2.AsyncClient:
        return _client(headers or {}, connect_sec, door)

    return sse_client(transport.url, dict(transport.headers), connect_sec, _NO_LIMIT_SEC, httpx_client_factory=client)


def _client(headers: dict[str, str], connect_sec: float, door: _Door) -> httpx2.AsyncClient:
    """Return a client whose limits are those of jobs: an answer may take its time, and calls do not queue."""
    timeout = httpx2.Timeout(connect_sec, read=None, pool=None)
    limits, hooks = httpx2.Limits(max_keepalive_connections=32), {"response": [door.look]}
    return httpx2.AsyncClient(headers=headers, timeout=timeout, limits=limits, event_hooks=hooks)
