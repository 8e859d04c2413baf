"""Calls tools of one server for jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import anyio

from jobworkerp_standalone.jobs.errors import Retryable
from jobworkerp_standalone.runners.base import Call, Collector, Runner, Send
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.mcp.link import Link
from jobworkerp_standalone.runners.mcp.results import McpCollector, encode_result, error_text
from jobworkerp_standalone.runners.mcp.session import Notes, Session
from jobworkerp_standalone.runners.mcp.tools import ToolCall

if TYPE_CHECKING:
    from mcp_types import CallToolResult


class Links(Protocol):
    """Finds the link to a server."""

    def link(self, name: str) -> Link:
        """Return the link to a server.

        Raises:
            Retryable: there is none any more.
        """
        ...


class McpRunner(Runner):
    """Calls tools over the server's one session, or, for an ``isolated`` server, over a session of its own.

    The server is looked up for each job, so that a warm instance follows the configuration.
    """

    def __init__(self, links: Links, name: str, host: Host) -> None:
        self._links = links
        self._name = name
        self._host = host
        self._own: Link | None = None

    async def run(self, call: Call) -> bytes:
        """Call the tool and return its answer as ``McpServerResult``."""
        order, session = await self._begin(call)
        answer = await session.call(order)
        self._judge(order, answer)
        return encode_result(answer)

    async def stream(self, call: Call, send: Send) -> None:
        """Call the tool; send progress and log as they come, then the answer."""
        order, session = await self._begin(call)
        notes = Notes()
        answering = _Answering(session, order, notes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(answering.run)
            while items := await notes.next():
                for item in items:
                    await send(item)
        answer = answering.answer()
        await send(encode_result(answer))
        self._judge(order, answer)

    def collector(self, method: str) -> Collector:  # noqa: ARG002 - the same for every tool
        """Return what leaves progress and log out."""
        return McpCollector()

    @property
    def reusable(self) -> bool:
        """Whether the session of its own, if it has one, is of the server as it is configured now."""
        return self._own is None or self._own.server == self._links.link(self._name).server

    async def aclose(self) -> None:
        """Have the session of its own end; no job waits for that."""
        if self._own is not None:
            self._own.end()

    async def _begin(self, call: Call) -> tuple[ToolCall, Session]:
        session, toolbox = await self._link().connected()
        return toolbox.read(call.method, call.args), session

    def _link(self) -> Link:
        shared = self._links.link(self._name)
        if not shared.server.isolated:
            return shared
        if self._own is None:
            self._own = Link(shared.server, self._host)
            self._own.start()
        return self._own

    def _judge(self, order: ToolCall, answer: CallToolResult) -> None:
        if order.strict and answer.is_error:
            raise Retryable(f"tool {order.tool!r} of MCP server {self._name!r} failed: {error_text(answer)}")


class _Answering:
    """One call beside the task that sends what comes meanwhile."""

    def __init__(self, session: Session, order: ToolCall, notes: Notes) -> None:
        self._session, self._order, self._notes = session, order, notes
        self._answer: CallToolResult | None = None
        self._error: Exception | None = None

    async def run(self) -> None:
        """Call, and say when it is over."""
        try:
            self._answer = await self._session.call(self._order, self._notes)
        except Exception as error:
            self._error = error
        finally:
            self._notes.close()

    def answer(self) -> CallToolResult:
        """Return the answer, or raise what the call ended with."""
        if self._error is not None:
            raise self._error
        assert self._answer is not None
        return self._answer
