"""The way to one server: a task that opens its session, holds it, and opens another when it is lost."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from typing import Final

import anyio
import anyio.to_thread
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from jobworkerp_standalone.jobs.errors import Retryable
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.mcp.config import Http, McpServer
from jobworkerp_standalone.runners.mcp.session import Allowed, Session, open_session
from jobworkerp_standalone.runners.mcp.streams import Unreachable, reason
from jobworkerp_standalone.runners.mcp.tools import Toolbox, ToolInfo

_log = logging.getLogger(__name__)
_FIRST_PAUSE_SEC: Final = 0.5
_SHORTEST_PAUSE_SEC: Final = 0.1
"""Between two attempts, also when a job waits for the next one."""
_STEADY_SEC: Final = 10.0
"""A session that lasted so long was a good one: the next pause is the shortest again."""
_PARTING_SEC: Final = 2.0
"""For ending a session that is of no use any more. The end of a process has time limits of its own."""
_SETTLING_SEC: Final = 0.05
"""A server that changes its tools often says so several times."""
OnTools = Callable[["Link"], Awaitable[None]]


class Link:
    """Keeps one server connected. ``on_tools`` is called with the link whenever its tools are known anew."""

    def __init__(self, server: McpServer, host: Host, on_tools: OnTools | None = None) -> None:
        self.server = server
        self.toolbox: Toolbox | None = None
        self.tried = anyio.Event()
        """Set after the first attempt, whatever came of it."""
        self._host = host
        self._on_tools = on_tools
        self._allowed = Allowed.of(server, host.settings)
        self._opening_sec = self._allowed.start + self._allowed.connect + self._allowed.tools
        self._session: Session | None = None
        self._infos: list[ToolInfo] = []
        self._attempts = 0
        self._why = "it was not tried yet"
        self._changed = anyio.Event()
        self._wanted = anyio.Event()
        self._scope = anyio.CancelScope()
        self._holding: anyio.CancelScope | None = None
        """Around the time in which a session is open and good."""
        self._over = False
        self._finished = anyio.Event()
        self._legacy = False
        """The server speaks the older SSE transport."""

    def start(self) -> None:
        """Begin, in a task of its own that outlives the caller."""
        self._host.start_soon(self._run)

    def end(self) -> None:
        """Have the session end, without waiting for that. A server at an address is told."""
        self._over = True
        (self._holding or self._scope).cancel()

    async def stop(self) -> None:
        """End the session, and see its process gone."""
        self.end()
        await self._finished.wait()

    async def connected(self) -> tuple[Session, Toolbox]:
        """Return the session and its tools; where there is none, have it opened now and wait for that.

        Raises:
            Retryable: the server cannot be reached; the text says why.
        """
        if self._session is None or not self._session.alive:
            with anyio.move_on_after(self._opening_sec) as limit:
                await self._next()
            if limit.cancelled_caught:
                raise self._not_reached(f"it takes longer than {self._opening_sec:g} s")
        assert self._session is not None
        assert self.toolbox is not None
        return self._session, self.toolbox

    async def _next(self) -> None:
        """Wait for a session: of the attempt that is going on, or of the next."""
        before = self._attempts
        while self._session is None or not self._session.alive:
            if self._finished.is_set():
                raise self._not_reached("it is no longer configured")
            if self._attempts > before and self._session is None:
                raise self._not_reached(self._why)
            self._wanted.set()
            await self._changed.wait()

    def _not_reached(self, why: str) -> Retryable:
        return Retryable(f"MCP server {self.server.name!r} cannot be reached: {why}")

    def _tell(self) -> None:
        """Wake whoever waits for a change."""
        self._changed.set()
        self._changed = anyio.Event()

    async def _run(self) -> None:
        try:
            with self._scope:
                await self._keep()
        finally:
            self._session = None
            self._finished.set()
            self.tried.set()
            self._tell()

    async def _keep(self) -> None:
        pause = _FIRST_PAUSE_SEC
        while True:
            began = anyio.current_time()
            why = self.server.redactor.clean(await self._attempt())
            told = "is gone" if self._session is not None else "cannot be reached"
            known = self._over or (why == self._why and self._session is None)
            level = logging.DEBUG if known else logging.WARNING
            _log.log(level, "MCP server %s %s: %s", self.server.name, told, why)
            if self._session is not None:
                self._session = None
            else:
                self._attempts += 1
            self._why = why
            self.tried.set()
            self._tell()
            if self._over:
                return
            if anyio.current_time() - began > _STEADY_SEC:
                pause = _FIRST_PAUSE_SEC
            await self._rest(pause)
            pause = min(pause * 2, self._host.settings.mcp_reconnect_max_secs)

    async def _rest(self, seconds: float) -> None:
        """Wait before the next attempt, shortly if a job waits for it."""
        await anyio.sleep(_SHORTEST_PAUSE_SEC)
        with anyio.move_on_after(seconds - _SHORTEST_PAUSE_SEC):
            await self._wanted.wait()
        self._wanted = anyio.Event()

    async def _attempt(self) -> str:
        """Open a session and hold it as long as it is good; return why it is not, or why there was none."""
        why = await self._open(legacy=self._legacy)
        transport = self.server.transport
        if self._session is None and isinstance(transport, Http) and transport.kind == "sse":
            other = await self._open(legacy=not self._legacy)
            if self._session is not None:
                self._legacy = not self._legacy
                return other
            names = ("SSE", "streamable HTTP") if self._legacy else ("streamable HTTP", "SSE")
            return f"as {names[0]}: {why}; as {names[1]}: {other}"
        return why

    async def _open(self, *, legacy: bool) -> str:
        try:
            with anyio.CancelScope(deadline=anyio.current_time() + self._opening_sec) as limit:
                return await self._hold(limit, legacy)
        except Exception as error:
            return reason(error)
        if self._session is not None:
            return self._why
        return f"it takes longer than {self._opening_sec:g} s"

    async def _hold(self, limit: anyio.CancelScope, legacy: bool) -> str:
        environment = self._host.child_environment
        async with open_session(self.server, self._allowed, environment, legacy=legacy) as session:
            await self._learn(session)
            limit.deadline = math.inf
            self._session = session
            self._tell()
            await self._offer()
            self.tried.set()
            with anyio.CancelScope() as self._holding:
                await self._attend(session)
            self._holding = None
            self._why = session.why()
            limit.deadline = anyio.current_time() + _PARTING_SEC  # over HTTP it may never answer the farewell
            return self._why

    async def _attend(self, session: Session) -> None:
        """Follow the server's tools until the session is of no use any more."""
        while await session.tools_change():
            await anyio.sleep(_SETTLING_SEC)
            try:
                changed = await self._learn(session)
            except (Unreachable, MCPError, ValidationError) as error:
                if session.alive:  # calls run on it: the tools stay as they were
                    why = self.server.redactor.clean(reason(error))
                    _log.warning("MCP server %s says that its tools changed, but not how: %s", self.server.name, why)
                continue
            if changed:
                await self._offer()

    async def _learn(self, session: Session) -> bool:
        """Ask for the tools; whether they are others than before."""
        infos = await session.tools()
        if self.toolbox is not None and infos == self._infos:
            return False
        self.toolbox = await anyio.to_thread.run_sync(Toolbox.make, self.server.name, infos)
        self._infos = infos
        return True

    async def _offer(self) -> None:
        if self._on_tools is not None:
            await self._on_tools(self)
