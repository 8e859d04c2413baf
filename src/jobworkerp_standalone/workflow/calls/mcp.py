"""``call: mcp``: one request to an MCP server: one that listens, one that is started for it, or a configured one.

This is no job: a server that only a document names belongs to no runner, and the runners of configured servers call
tools alone.
"""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from importlib import import_module
from typing import Any, Final, cast

import anyio.to_thread

from jobworkerp_standalone.runners.mcp.config import Http, Limits, McpServer, Stdio
from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import Credentials, credentials_of, renewed
from jobworkerp_standalone.workflow.calls.http import pairs_given
from jobworkerp_standalone.workflow.calls.mcp_order import McpOrder
from jobworkerp_standalone.workflow.calls.uris import http_url_of
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.calls import MCP_METHODS, McpCall, McpHttp, McpStdio

_LIBRARY: Final = "jobworkerp_standalone.workflow.calls.mcp_session"


async def output(asking: Asking, call: Any) -> JSON:
    """Send the request and return the server's result."""
    form = cast("McpCall", call)
    method = await asking.plain(form.method, "method")
    if method not in MCP_METHODS:
        raise Standard.CONFIGURATION.error(
            "There is no such MCP method", f"{method!r} is none; use one of {', '.join(MCP_METHODS)}"
        ).at(asking.pointer("method"))
    parameters = (await asking.mapping(form.parameters, "parameters"))[0]
    needed = MCP_METHODS[method]
    if needed is not None and not isinstance(parameters.get(needed), str):
        raise Standard.VALIDATION.error("A parameter is missing", f"{method} needs the text {needed!r}").at(
            asking.pointer("parameters")
        )
    limit_ms = (
        await asking.milliseconds(form.timeout.after, form.timeout.place("timeout"))
        if form.timeout is not None
        else None
    )
    server, credentials = await _server(asking, form, limit_ms)
    order = McpOrder(
        server,
        method,
        parameters,
        form.client_name or asking.run.workflow.name,
        form.client_version or asking.run.workflow.version,
        form.protocol_version,
    )
    try:
        return await _answer(asking, order, limit_ms)
    except WorkflowError as error:
        refused = credentials if error.status == HTTPStatus.UNAUTHORIZED else None
        others = await renewed(refused, asking) if refused is not None else None
        if others is None:
            raise
    return await _answer(asking, _asked_by(order, others), limit_ms)


def _asked_by(order: McpOrder, others: Credentials) -> McpOrder:
    """Return the request with other credentials."""
    server = order.server
    assert isinstance(server, McpServer), "configured ones are not told any"
    assert isinstance(server.transport, Http), "programs are not told any"
    headers = {**server.transport.headers, "Authorization": f"{others.scheme} {others.parameter}"}
    return replace(order, server=replace(server, transport=replace(server.transport, headers=headers)))


async def _answer(asking: Asking, order: McpOrder, limit_ms: int | None) -> JSON:
    # The library takes half a second to import.
    library = await anyio.to_thread.run_sync(import_module, _LIBRARY)
    host = asking.run.tools.host
    if limit_ms is None:
        return await library.ask(order, host)
    with anyio.move_on_after(limit_ms / 1000):
        return await library.ask(order, host)
    raise Standard.TIMEOUT.error(
        "The MCP server took too long", f"{order.method} was not answered within {limit_ms} ms"
    )


async def _server(asking: Asking, form: McpCall, limit_ms: int | None) -> tuple[McpServer | str, Credentials | None]:
    if form.server is not None:
        return await asking.plain(form.server, "server"), None
    credentials: Credentials | None = None
    if isinstance(form.transport, McpHttp):
        credentials = await _credentials(asking, form.transport)
        transport: Http | Stdio = await _address(asking, form.transport, credentials)
    else:
        assert form.transport is not None, "there is one or the other"
        transport = await _program(asking, form.transport)
    # A call's own limit is one for everything, connecting included.
    limit = limit_ms / 1000 if limit_ms is not None else None
    return McpServer(asking.state.task.name, transport, limits=Limits(start=limit, connect=limit)), credentials


async def _credentials(asking: Asking, transport: McpHttp) -> Credentials | None:
    name = "transport/http/endpoint/authentication"
    credentials = await credentials_of(transport.endpoint.authentication, asking, name)
    if credentials is not None and credentials.header is None:
        raise Standard.CONFIGURATION.error(
            "An authentication policy cannot be used",
            "MCP has neither digest nor certificates; use basic, bearer, oauth2 or oidc",
        ).at(asking.pointer(name))
    return credentials


async def _address(asking: Asking, transport: McpHttp, credentials: Credentials | None) -> Http:
    name = "transport/http"
    url = str((await http_url_of(asking, transport.endpoint.uri, f"{name}/endpoint")).value)
    headers = dict((await pairs_given(asking, transport.headers, f"{name}/headers"))[0])
    if credentials is not None and credentials.header is not None:
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
        headers["Authorization"] = credentials.header
    return Http("streamable-http", url, headers)


async def _program(asking: Asking, transport: McpStdio) -> Stdio:
    name = "transport/stdio"
    command = await asking.plain(transport.command, f"{name}/command")
    given = (await asking.given(transport.arguments, f"{name}/arguments")).value
    if not isinstance(given, (list, type(None))):
        raise asking.wrong(f"{name}/arguments", "array", given)
    environment = (await asking.mapping(transport.environment, f"{name}/environment"))[0]
    variables = {key: _text(value) for key, value in environment.items()}
    return Stdio(command, tuple(_text(each) for each in given or ()), variables)


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else json_text(value)
