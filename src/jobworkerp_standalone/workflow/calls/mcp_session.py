"""A session with an MCP server for one request. Imports the MCP library."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TextIO, cast

import anyio
import httpx2
from mcp.client.session import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import Implementation
from pydantic import BaseModel, ValidationError

from jobworkerp_standalone.workflow.calls.mcp_order import McpOrder, Program
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON

_CONNECT_SEC: Final = 10.0
_UNAVAILABLE: Final = 503
Parameters = Mapping[str, Any]
Ask = Callable[[ClientSession, Parameters], Awaitable[BaseModel]]
_METHODS: Final[Mapping[str, Ask]] = {
    "ping": lambda session, _: session.send_ping(),
    "tools/list": lambda session, _: session.list_tools(),
    "tools/call": lambda session, given: session.call_tool(given["name"], given.get("arguments")),
    "prompts/list": lambda session, _: session.list_prompts(),
    "prompts/get": lambda session, given: session.get_prompt(given["name"], given.get("arguments")),
    "resources/list": lambda session, _: session.list_resources(),
    "resources/templates/list": lambda session, _: session.list_resource_templates(),
    "resources/read": lambda session, given: session.read_resource(given["uri"]),
}


async def ask(order: McpOrder) -> JSON:
    """Open a session, send the request, and return the result as the protocol has it.

    Raises:
        WorkflowError: the method is not known, the server cannot be reached, or it refuses.
    """
    method = _METHODS.get(order.method)
    if method is None:
        raise Standard.CONFIGURATION.error(
            "There is no such MCP method", f"{order.method!r} is none; use one of {', '.join(_METHODS)}"
        )
    try:
        async with _session(order) as session:
            result = await method(session, order.parameters)
    except Exception as error:
        raise _failure(order, error) from error
    return cast("JSON", result.model_dump(mode="json", by_alias=True, exclude_none=True))


@asynccontextmanager
async def _session(order: McpOrder) -> AsyncIterator[ClientSession]:
    us = Implementation(name=order.client_name, version=order.client_version)
    async with _streams(order) as (read, write), ClientSession(read, write, client_info=us) as session:
        await session.initialize()
        yield session


@asynccontextmanager
async def _streams(order: McpOrder) -> AsyncIterator[Any]:
    server = order.server
    if isinstance(server, Program):
        parameters = StdioServerParameters(
            command=server.command, args=list(server.arguments), env=dict(server.environment)
        )
        async with (
            await anyio.open_file(os.devnull, "w") as nowhere,
            stdio_client(parameters, errlog=cast("TextIO", nowhere.wrapped)) as streams,
        ):
            yield streams
        return
    timeout = httpx2.Timeout(_CONNECT_SEC, read=None, pool=None)
    async with (
        httpx2.AsyncClient(headers=dict(server.headers), timeout=timeout) as client,
        streamable_http_client(server.url, http_client=client) as streams,
    ):
        yield streams


def _failure(order: McpOrder, error: BaseException) -> WorkflowError:
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, WorkflowError):
        return error
    if isinstance(error, KeyError):
        return Standard.VALIDATION.error("A parameter is missing", f"{order.method} needs {error}")
    if isinstance(error, (MCPError, ValidationError, ValueError, TypeError)):
        return Standard.COMMUNICATION.error("The MCP server refused", f"{order.method}: {error}")
    reason = str(error) or type(error).__name__
    return Standard.COMMUNICATION.error("The MCP server cannot be reached", reason, status=_UNAVAILABLE)
