"""An MCP server made with the library, for tests: ``python mcp_server.py stdio`` or ``... http|sse FOLDER [PORT]``.

It writes what happened to it into ``events`` in the folder of variable ``MCP_TEST_DIR``, a line each. Over HTTP its
port is the first line on standard output.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import warnings
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
import uvicorn
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

warnings.simplefilter("ignore")
FOLDER = Path(os.environ["MCP_TEST_DIR"])
EVENTS = FOLDER / "events"
EXTRA = FOLDER / "extra-tool"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

ECHO: dict[str, Any] = {
    "type": "object",
    "properties": {
        "count": {"type": "integer", "description": "How many."},
        "ratio": {"type": "number"},
        "loud": {"type": "boolean"},
        "mode": {"type": "string", "enum": ["slow", "very-fast"]},
        "dashed-name": {"type": "string"},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "when": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "place": {"$ref": "#/$defs/Place"},
        "options": {"type": "object", "additionalProperties": {"type": "integer"}},
    },
    "required": ["count", "tags"],
    "$defs": {
        "Place": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "within": {"$ref": "#/$defs/Place"}},
            "required": ["x"],
        }
    },
}


def tool(name: str, description: str, properties: dict[str, Any] | None = None) -> types.Tool:
    schema = {"type": "object", "properties": properties or {}}
    return types.Tool(name=name, description=description, input_schema=schema)


TOOLS = [
    types.Tool(name="echo", description="Tells which arguments arrived.", input_schema=ECHO),
    tool("media", "Every kind of content."),
    tool("fail", "Says that it failed.", {"why": {"type": "string"}}),
    tool("refuse", "A protocol error.", {"code": {"type": "integer"}}),
    tool("slow", "Waits, with progress and log.", {"steps": {"type": "integer"}, "hang": {"type": "boolean"}}),
    tool("chatty", "Logs a lot.", {"lines": {"type": "integer"}}),
    tool("env", "Tells a variable.", {"name": {"type": "string"}}),
    tool("pid", "Tells its process id, and starts a child that stays."),
    tool("crash", "Ends the process."),
    tool("grow", "Gets one tool more."),
]


def note(event: str) -> None:
    with EVENTS.open("a") as file:
        file.write(event + "\n")


async def list_tools(ctx: Any, params: Any) -> types.ListToolsResult:
    extra = [tool("extra", "New.")] if EXTRA.exists() else []
    # in two pages
    if params is None or params.cursor is None:
        return types.ListToolsResult(tools=TOOLS[:4], next_cursor="more")
    return types.ListToolsResult(tools=[*TOOLS[4:], *extra])


def said(text: str, **more: Any) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(text=text)], **more)


async def call_tool(ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    arguments = params.arguments or {}
    return await globals()[f"do_{params.name}"](ctx, arguments)


async def do_echo(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    return said(json.dumps(arguments), structured_content={"arguments": arguments})


async def do_media(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    return types.CallToolResult(
        content=[
            types.TextContent(text="seen", annotations=types.Annotations(priority=0.5)),
            types.ImageContent(data=PIXEL, mime_type="image/png"),
            types.AudioContent(data="AAAA", mime_type="audio/wav"),
            types.EmbeddedResource(
                resource=types.TextResourceContents(uri="memo://1", mime_type="text/plain", text="m")
            ),
            types.EmbeddedResource(resource=types.BlobResourceContents(uri="memo://2", blob="AQID")),
            types.ResourceLink(name="page", uri="https://example.org/", size=3, description="a page"),
        ],
        _meta={"trace": 7},
    )


async def do_fail(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    return said(arguments.get("why", "no"), is_error=True)


async def do_refuse(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    raise MCPError(code=arguments.get("code", -32602), message="refused")


async def do_slow(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    note("slow begins")
    try:
        for step in range(arguments.get("steps", 2)):
            await ctx.session.report_progress(step + 1, arguments.get("steps", 2), f"step {step + 1}")
            await ctx.session.send_log_message("info", {"step": step + 1}, "slow", related_request_id=ctx.request_id)
        if arguments.get("hang"):
            await asyncio.Event().wait()
    except BaseException:
        note("slow cancelled")
        raise
    return said("done")


async def do_chatty(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    for line in range(arguments["lines"]):
        await ctx.session.send_log_message("debug", line, related_request_id=ctx.request_id)
    return said("done")


async def do_env(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    return said(json.dumps(os.environ.get(arguments["name"])))


async def do_pid(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    child = await asyncio.create_subprocess_exec("sleep", "1000")
    return said(json.dumps([os.getpid(), child.pid]))


async def do_crash(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    print("about to crash", file=sys.stderr, flush=True)
    os._exit(3)


async def do_grow(ctx: Any, arguments: dict[str, Any]) -> types.CallToolResult:
    EXTRA.touch()
    await ctx.session.send_tool_list_changed()
    return said("grown")


async def list_prompts(ctx: Any, params: Any) -> types.ListPromptsResult:
    arguments = [types.PromptArgument(name="who", required=True)]
    return types.ListPromptsResult(prompts=[types.Prompt(name="greet", arguments=arguments)])


async def get_prompt(ctx: Any, params: types.GetPromptRequestParams) -> types.GetPromptResult:
    text = types.TextContent(text=f"Greet {(params.arguments or {})['who']}.")
    return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=text)])


async def list_resources(ctx: Any, params: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=[types.Resource(name="memo", uri="memo://1")])


async def list_templates(ctx: Any, params: Any) -> types.ListResourceTemplatesResult:
    return types.ListResourceTemplatesResult(
        resource_templates=[types.ResourceTemplate(name="memos", uri_template="memo://{n}")]
    )


async def read_resource(ctx: Any, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=params.uri, text=f"at {params.uri}")])


server = Server(
    "test",
    version="1",
    on_list_tools=list_tools,
    on_call_tool=call_tool,
    on_list_prompts=list_prompts,
    on_get_prompt=get_prompt,
    on_list_resources=list_resources,
    on_list_resource_templates=list_templates,
    on_read_resource=read_resource,
)
OPTIONS = server.create_initialization_options(NotificationOptions(tools_changed=True))


async def over_stdio() -> None:
    async with stdio_server() as (read, write):
        await server.run(read, write, OPTIONS)


def sse_app() -> Starlette:
    transport = SseServerTransport("/messages/")

    async def endpoint(request: Any) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (read, write):
            await server.run(read, write, OPTIONS)
        return Response()

    return Starlette(routes=[Route("/sse", endpoint), Mount("/messages/", app=transport.handle_post_message)])


def over_http(app: Any, port: int) -> None:
    async def guarded(scope: Any, receive: Any, send: Any) -> None:
        wanted = os.environ.get("MCP_TEST_TOKEN")
        given = dict(scope.get("headers", [])).get(b"authorization", b"").decode()
        if scope["type"] == "http" and wanted and given != f"Bearer {wanted}":
            await Response("who are you", 401)(scope, receive, send)
        else:
            await app(scope, receive, send)

    listening = socket.create_server(("127.0.0.1", port))
    print(listening.getsockname()[1], flush=True)
    config = uvicorn.Config(guarded, log_level="error", timeout_graceful_shutdown=1)
    asyncio.run(uvicorn.Server(config).serve([listening]))


def main() -> None:
    kind, *port = sys.argv[1:]
    if kind == "stdio":
        note(f"started {os.getpid()}")
        anyio.run(over_stdio)
    elif kind == "sse":
        over_http(sse_app(), int(*port or ["0"]))
    else:
        over_http(server.streamable_http_app(), int(*port or ["0"]))


if __name__ == "__main__":
    main()
