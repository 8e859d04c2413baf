"""One session with one server: opened, held and closed by one task; jobs send their calls through it.

The library runs a session's reading and writing in the task that opened it, and a call is a message to that task and
a wait for the answer. A call that is given up is told to the server (``notifications/cancelled``).
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final, Self, TypeVar

import anyio
from mcp.client.session import ClientSession, IncomingMessage
from mcp.shared.exceptions import MCPError
from mcp_types import (
    CONNECTION_CLOSED,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    REQUEST_TIMEOUT,
    UNSUPPORTED_PROTOCOL_VERSION,
    CallToolRequest,
    CallToolRequestParams,
    CallToolResult,
    ClientCapabilities,
    Implementation,
    InitializedNotification,
    InitializeRequest,
    InitializeRequestParams,
    InitializeResult,
    InputRequiredResult,
    LoggingMessageNotificationParams,
    PaginatedRequestParams,
    Request,
    ToolListChangedNotification,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, RootModel, TypeAdapter, ValidationError

from jobworkerp_standalone.jobs.errors import BadInput, JobError, Retryable
from jobworkerp_standalone.runners.environment import ChildEnvironment
from jobworkerp_standalone.runners.mcp.config import Http, McpServer
from jobworkerp_standalone.runners.mcp.http import http_streams
from jobworkerp_standalone.runners.mcp.results import encode_log, encode_progress
from jobworkerp_standalone.runners.mcp.stdio import stdio_streams
from jobworkerp_standalone.runners.mcp.streams import Denied, Streams, Unreachable, reason
from jobworkerp_standalone.runners.mcp.tools import ToolCall, ToolInfo
from jobworkerp_standalone.settings import Settings

_log = logging.getLogger(__name__)
_ANSWER: Final[TypeAdapter[CallToolResult | InputRequiredResult]] = TypeAdapter(CallToolResult | InputRequiredResult)
_KEPT_NOTES: Final = 1000
"""Notifications of one call that may wait for a slow reader."""
_CALLERS_FAULT: Final = frozenset({INVALID_PARAMS, INVALID_REQUEST, METHOD_NOT_FOUND})
_LOST_SESSION: Final = "session"
"""In the message of an invalid request over HTTP: the server has forgotten the session, restarted for example."""
REVISIONS: Final = (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS)
"""Of the protocol, the oldest first."""
ResultT = TypeVar("ResultT", bound=BaseModel)


class _AnyRequest(Request[Any, str]):
    """A request whose parameters are sent as they are."""

    params: dict[str, Any] | None = None


class _AnyResult(RootModel[dict[str, Any]]):
    """A result as it came."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Time limits in seconds."""

    start: float
    connect: float
    tools: float
    call: float | None

    @classmethod
    def of(cls, server: McpServer, settings: Settings) -> Self:
        """Return a server's own limits, and those of the settings where it has none."""
        own = server.limits
        return cls(
            own.start or settings.mcp_transport_start_timeout_secs,
            own.connect or settings.mcp_connection_timeout_secs,
            own.tools or settings.mcp_tools_load_timeout_secs,
            own.call,
        )


@dataclass(frozen=True, slots=True)
class Greeting:
    """What we say of ourselves when a session begins."""

    name: str = "jobworkerp-standalone"
    version: str = version("jobworkerp-standalone")
    revision: str = LATEST_HANDSHAKE_VERSION
    """Of the protocol, proposed; the server may answer with another one."""


class Notes:
    """What a server says while a call runs, as stream items. Bounded: the oldest are left out, and counted."""

    def __init__(self) -> None:
        self._waiting: deque[Callable[[int], bytes]] = deque()
        self._left_out = 0
        self._open = True
        self._there = anyio.Event()

    def add(self, item: Callable[[int], bytes]) -> None:
        """Take one; ``item`` is given how many before it were left out."""
        if len(self._waiting) >= _KEPT_NOTES:
            self._waiting.popleft()
            self._left_out += 1
        self._waiting.append(item)
        self._there.set()

    def close(self) -> None:
        """Nothing more will come."""
        self._open = False
        self._there.set()

    async def next(self) -> list[bytes]:
        """Wait for more and return it; nothing at all once there will be no more."""
        while not self._waiting and self._open:
            self._there = anyio.Event()
            await self._there.wait()
        items: list[bytes] = []
        while self._waiting:
            items.append(self._waiting.popleft()(self._left_out))
            self._left_out = 0
        return items

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        """Take a progress notification."""
        self.add(lambda _left_out: encode_progress(progress, total, message))


class Session:
    """A session that is open."""

    def __init__(self, server: McpServer, allowed: Allowed, greeting: Greeting) -> None:
        self._server = server
        self._allowed = allowed
        self._greeting = greeting
        self._client: ClientSession | None = None
        self._streams: Streams | None = None
        self._followers: set[Notes] = set()
        self._calls = 0
        self._tools_changed = anyio.Event()
        self._lost = anyio.Event()

    @property
    def alive(self) -> bool:
        """Whether calls have a chance."""
        return self._streams is not None and not self._streams.ended.is_set() and not self._lost.is_set()

    async def call(self, order: ToolCall, notes: Notes | None = None) -> CallToolResult:
        """Call a tool and return its answer. ``notes`` is given what the server says meanwhile.

        Raises:
            Retryable: the server is gone, too slow, or failed.
            BadInput: it refused the call, or its answer is none.
        """
        request = CallToolRequest(params=CallToolRequestParams(name=order.tool, arguments=order.arguments))
        if notes is not None:
            self._followers.add(notes)
        try:
            answer = await self._answer(request, _ANSWER, notes)
        except MCPError as error:
            raise self._failure(order, error) from error
        except ValidationError as error:
            raise BadInput(f"{self._told(order)} answered what is no tool result: {reason(error)}") from error
        except Denied as error:
            raise Retryable(f"{self._told(order)} failed: {error}") from error
        except Unreachable as error:
            raise Retryable(f"{self._told(order)} {error}") from error
        finally:
            if notes is not None:
                self._followers.discard(notes)
        if isinstance(answer, InputRequiredResult):
            raise BadInput(f"{self._told(order)} asks for input in the middle of the call, which a job cannot give")
        return answer

    async def ask(self, method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
        """Send any request and return its result as the server gave it.

        Raises:
            Unreachable: the server is gone, or denied the request.
            MCPError: it refused, or was too slow.
            ValidationError: its answer is no result of that method.
        """
        return (await self._answer(_AnyRequest(method=method, params=dict(params or {})), _AnyResult)).root

    async def _answer(
        self, request: Request[Any, Any], kind: type[ResultT] | TypeAdapter[ResultT], notes: Notes | None = None
    ) -> ResultT:
        assert self._client is not None
        self._calls += 1
        try:
            return await self._client.send_request(
                request, kind, self._allowed.call, progress_callback=notes.progress if notes else None
            )
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise Unreachable(self._gone()) from error
            if self._is_forgotten(error):
                self._lost.set()
                raise Unreachable("was not run: the server has forgotten the session") from error
            raise self._denied(error) or error from error.__cause__
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise Unreachable(self._gone()) from error
        finally:
            self._calls -= 1

    async def tools(self) -> list[ToolInfo]:
        """Ask for all tools.

        Raises:
            Unreachable: it did not tell in time.
        """
        self._tools_changed = anyio.Event()
        with _limit(self._allowed.tools, "listing its tools", "MCP_TOOLS_LOAD_TIMEOUT_SECS"):
            return [info async for info in self._listed()]

    async def tools_change(self) -> bool:
        """Wait until the server says that its tools are others; False once the session is of no use any more."""
        assert self._streams is not None
        async with anyio.create_task_group() as tasks:
            for event in (self._streams.ended, self._lost, self._tools_changed):
                tasks.start_soon(_cancel_at, event, tasks.cancel_scope)
        return self.alive

    def why(self) -> str:
        """Say why the session is of no use any more."""
        assert self._streams is not None
        return "it has forgotten the session" if self._lost.is_set() else self._streams.why()

    @asynccontextmanager
    async def over_streams(self, streams: Streams) -> AsyncGenerator[None]:
        """Shake hands over ``streams``; open until left.

        Raises:
            Unreachable: the server does not speak the protocol, or not in time.
        """
        self._streams = streams
        client = ClientSession(
            streams.read,
            streams.write,
            client_info=Implementation(name=self._greeting.name, version=self._greeting.version),
            logging_callback=self._on_log,
            message_handler=self._on_message,
        )
        async with client:
            with _limit(self._allowed.connect, "answering the first request", "MCP_CONNECTION_TIMEOUT_SECS"):
                await self._shake_hands(client)
            self._client = client
            yield

    async def _shake_hands(self, client: ClientSession) -> None:
        if self._greeting.revision in MODERN_PROTOCOL_VERSIONS:
            await client.discover()
            return
        try:
            await self._initialize(client)
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                raise Unreachable(self.why()) from error
            if error.code not in (UNSUPPORTED_PROTOCOL_VERSION, METHOD_NOT_FOUND):
                raise self._denied(error) or error from error.__cause__
            await client.discover()  # a server that knows the newest revision of the protocol alone

    async def _initialize(self, client: ClientSession) -> None:
        """Shake hands as the library does, which always proposes the latest revision."""
        greeting = self._greeting
        params = InitializeRequestParams(
            protocol_version=greeting.revision,
            capabilities=ClientCapabilities(),
            client_info=Implementation(name=greeting.name, version=greeting.version),
        )
        result = await client.send_request(InitializeRequest(params=params), InitializeResult)
        if result.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            known = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
            raise Unreachable(f"it wants revision {result.protocol_version} of the protocol, which is none of {known}")
        client.adopt(result)
        await client.send_notification(InitializedNotification())

    async def _listed(self) -> AsyncIterator[ToolInfo]:
        assert self._client is not None
        cursor: str | None = None
        while True:
            page = await self._client.list_tools(params=PaginatedRequestParams(cursor=cursor) if cursor else None)
            for tool in page.tools:
                yield ToolInfo(tool.name, tool.description or tool.title or "", tool.input_schema)
            if not page.next_cursor or page.next_cursor == cursor:
                return
            cursor = page.next_cursor

    async def _on_log(self, params: LoggingMessageNotificationParams) -> None:
        shared = self._calls > 1
        for notes in self._followers:
            notes.add(lambda left_out: encode_log(params, shared=shared, left_out=left_out))
        if not self._followers and _log.isEnabledFor(logging.DEBUG):
            _log.debug(
                "MCP server %s logs (%s): %s",
                self._server.name,
                params.level,
                self._server.redactor.clean(str(params.data)),
            )

    async def _on_message(self, message: IncomingMessage) -> None:
        if isinstance(message, ToolListChangedNotification):
            self._tools_changed.set()

    def _failure(self, order: ToolCall, error: MCPError) -> JobError:
        """Say whether another attempt may help."""
        text = self._server.redactor.clean(error.message)
        if error.code == REQUEST_TIMEOUT:
            return Retryable(f"{self._told(order)} took longer than call_timeout_secs ({self._allowed.call:g} s)")
        kind = BadInput if error.code in _CALLERS_FAULT else Retryable
        return kind(f"{self._told(order)} failed: {text} (code {error.code})")

    def _is_forgotten(self, error: MCPError) -> bool:
        over_http = isinstance(self._server.transport, Http)
        return over_http and error.code == INVALID_REQUEST and _LOST_SESSION in error.message.lower()

    def _denied(self, error: MCPError) -> Denied | None:
        status = self._streams.denied() if self._streams is not None else 0
        return Denied(status, self._server.redactor.clean(error.message)) if status else None

    def _gone(self) -> str:
        assert self._streams is not None
        why = self._streams.why() if self._streams.ended.is_set() else "the connection broke"
        return f"was broken off: {why}"

    def _told(self, order: ToolCall) -> str:
        return f"tool {order.tool!r} of MCP server {self._server.name!r}"


@asynccontextmanager
async def open_session(
    server: McpServer,
    allowed: Allowed,
    environment: ChildEnvironment,
    *,
    legacy: bool = False,
    greeting: Greeting | None = None,
) -> AsyncGenerator[Session]:
    """Open a session; the task that enters must be the one that leaves.

    Args:
        server: which one.
        allowed: time limits.
        environment: of its process, if it is one.
        legacy: speak the older SSE transport.
        greeting: what to say of ourselves.

    Raises:
        Exception: it cannot be reached, or the connection broke; `streams.reason` tells it in one line.
    """
    session = Session(server, allowed, greeting or Greeting())
    async with _transport(server, allowed, environment, legacy) as streams, session.over_streams(streams):
        yield session


def _transport(
    server: McpServer, allowed: Allowed, environment: ChildEnvironment, legacy: bool
) -> AbstractAsyncContextManager[Streams]:
    if isinstance(server.transport, Http):
        return http_streams(server.transport, allowed.start, legacy=legacy)
    return stdio_streams(server, environment)


@contextmanager
def _limit(seconds: float, step: str, name: str) -> Generator[None]:
    """Bound a step; its end names step and setting."""
    with anyio.move_on_after(seconds) as scope:
        yield
    if scope.cancelled_caught:
        raise Unreachable(f"{step} took longer than {seconds:g} s ({name})")


async def _cancel_at(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
