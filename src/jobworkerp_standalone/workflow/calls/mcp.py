"""``call: mcp``: one request to an MCP server that listens, or that is started for it.

This one is no job: a server that only a document names belongs to no runner. Servers of MCP_CONFIG are runners, and are
called by ``run.runner``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final, cast

import anyio.to_thread

from jobworkerp_standalone.workflow.calls.asking import Asking
from jobworkerp_standalone.workflow.calls.credentials import credentials_of
from jobworkerp_standalone.workflow.calls.http import pairs_given
from jobworkerp_standalone.workflow.calls.mcp_order import Address, McpOrder, Program
from jobworkerp_standalone.workflow.calls.uris import http_url_of
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_out import json_text
from jobworkerp_standalone.workflow.model.calls import McpCall, McpHttp, McpStdio

_LIBRARY: Final = "jobworkerp_standalone.workflow.calls.mcp_session"


async def output(asking: Asking, call: Any) -> JSON:
    """Send the request and return the server's result."""
    form = cast("McpCall", call)
    transport = form.transport
    if isinstance(transport, McpHttp):
        server: Address | Program = await _address(asking, transport)
    else:
        server = await _program(asking, transport)
    order = McpOrder(
        server,
        await asking.plain(form.method, "method"),
        (await asking.mapping(form.parameters, "parameters"))[0],
        form.client_name or asking.run.workflow.name,
        form.client_version or asking.run.workflow.version,
    )
    # The library takes half a second to import.
    library = await anyio.to_thread.run_sync(import_module, _LIBRARY)
    if form.timeout is None:
        return await library.ask(order)
    limit_ms = await asking.milliseconds(form.timeout.after, "timeout")
    with anyio.move_on_after(limit_ms / 1000):
        return await library.ask(order)
    raise Standard.TIMEOUT.error(
        "The MCP server took too long", f"{order.method} was not answered within {limit_ms} ms"
    )


async def _address(asking: Asking, transport: McpHttp) -> Address:
    name = "transport/http"
    credentials = await credentials_of(transport.endpoint.authentication, asking, f"{name}/endpoint/authentication")
    if credentials is not None and credentials.header is None:
        raise Standard.CONFIGURATION.error(
            "An authentication policy cannot be used", "MCP has no digest; use basic, bearer, oauth2 or oidc"
        ).at(asking.pointer(f"{name}/endpoint/authentication"))
    url = str((await http_url_of(asking, transport.endpoint.uri, f"{name}/endpoint")).value)
    headers = dict((await pairs_given(asking, transport.headers, f"{name}/headers"))[0])
    if credentials is not None and credentials.header is not None:
        headers = {key: value for key, value in headers.items() if key.lower() != "authorization"}
        headers["Authorization"] = credentials.header
    return Address(url, headers)


async def _program(asking: Asking, transport: McpStdio) -> Program:
    name = "transport/stdio"
    command = await asking.plain(transport.command, f"{name}/command")
    given = (await asking.given(transport.arguments, f"{name}/arguments")).value
    if not isinstance(given, (list, type(None))):
        raise asking.wrong(f"{name}/arguments", "array", given)
    environment = (await asking.mapping(transport.environment, f"{name}/environment"))[0]
    inherited = asking.run.tools.host.child_environment.with_variables(
        {key: _text(value) for key, value in environment.items()}
    )
    variables = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in inherited.items()}
    return Program(command, [_text(each) for each in given or ()], variables)


def _text(value: JSON) -> str:
    return value if isinstance(value, str) else json_text(value)
