"""A request to an MCP server, over a session of its own or the one that is kept to a configured server.

Imports the MCP library.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, cast

import anyio
from mcp.shared.exceptions import MCPError
from mcp_types import REQUEST_TIMEOUT
from pydantic import ValidationError

from jobworkerp_standalone.jobs.errors import Retryable
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.mcp.config import McpServer
from jobworkerp_standalone.runners.mcp.link import Link
from jobworkerp_standalone.runners.mcp.origin import Links
from jobworkerp_standalone.runners.mcp.session import REVISIONS, Allowed, Greeting, Session, open_session
from jobworkerp_standalone.runners.mcp.streams import Denied, reason
from jobworkerp_standalone.workflow.calls.mcp_order import McpOrder
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON

_UNAVAILABLE: Final = 503
_NOT_FOUND: Final = 404
_PARTING_SEC: Final = 2.0
"""For ending a session over HTTP. The end of a process has time limits of its own."""


async def ask(order: McpOrder, host: Host) -> JSON:
    """Send the request and return the result as the protocol has it.

    Raises:
        WorkflowError: the server cannot be reached, is too slow, or refuses.
    """
    result: JSON = None
    try:
        with anyio.CancelScope() as limit:
            async with _session(order, host) as session:
                result = cast("JSON", await session.ask(order.method, order.parameters))
                limit.deadline = anyio.current_time() + _PARTING_SEC
    except Exception as error:
        if result is None:
            raise _failure(order, error) from error
    return result


@asynccontextmanager
async def _session(order: McpOrder, host: Host) -> AsyncIterator[Session]:
    server = order.server
    if isinstance(server, McpServer):
        if order.revision not in REVISIONS:
            raise Standard.CONFIGURATION.error(
                "There is no such revision of MCP", f"{order.revision!r} is none of {', '.join(REVISIONS)}"
            )
        greeting = Greeting(order.client_name, order.client_version, order.revision)
        allowed = Allowed.of(server, host.settings)
        async with open_session(server, allowed, host.child_environment, greeting=greeting) as session:
            yield session
        return
    shared = _link(server, host)
    if not shared.server.isolated:
        yield (await shared.connected())[0]
        return
    own = Link(shared.server, host)
    own.start()
    try:
        yield (await own.connected())[0]
    finally:
        own.end()


def _link(name: str, host: Host) -> Link:
    links = host.shared(Links)
    if links.has(name):
        return links.link(name)
    known = ", ".join(sorted(each.server.name for each in links.all())) or "there are none"
    raise Standard.CONFIGURATION.error(
        "There is no such MCP server",
        f"{name!r} is not in {host.settings.mcp_config} (MCP_CONFIG), which has: {known}",
        status=_NOT_FOUND,
    )


def _failure(order: McpOrder, error: Exception) -> WorkflowError:
    first = _first(error)
    match first:
        case WorkflowError():
            found = first
        case MCPError() if first.code == REQUEST_TIMEOUT:
            found = Standard.TIMEOUT.error("The MCP server took too long", f"{order.method}: {first.message}")
        case MCPError():
            detail = f"{order.method}: {first.message} (code {first.code})"
            found = Standard.RUNTIME.error("The MCP server refused", detail)
        case ValidationError():
            detail = f"it is no result of {order.method}: {reason(first)}"
            found = Standard.RUNTIME.error("The MCP server's answer makes no sense", detail)
        case Denied():
            found = Standard.COMMUNICATION.error("The MCP server refused", str(first), status=first.status)
        case _:
            why = str(first) if isinstance(first, Retryable) else reason(first)
            found = Standard.COMMUNICATION.error(
                "The MCP server cannot be reached", f"{order.method}: {why}", status=_UNAVAILABLE
            )
    return found


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error
