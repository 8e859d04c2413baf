"""An MCP server with one tool that answers at once, and the plainest way to call it."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from mcp.client.session import ClientSession

NAME: Final = "bench"
TOOL: Final = "add"
ARGUMENTS: Final = {"a": 20, "b": 22}
ANSWER: Final = "42"
COMMAND: Final = (sys.executable, "-m", "benchmarks.small_mcp")


def write_settings(folder: Path) -> Path:
    """Write an MCP_CONFIG that names the server."""
    path = folder / "mcp-settings.json"
    path.write_text(json.dumps({"server": [{"name": NAME, "command": COMMAND[0], "args": COMMAND[1:]}]}))
    return path


@asynccontextmanager
async def plain_session() -> AsyncIterator[ClientSession]:
    """Open a session as the library's manual does."""
    from mcp.client.session import ClientSession  # noqa: PLC0415 - loaded only for this case
    from mcp.client.stdio import StdioServerParameters, stdio_client  # noqa: PLC0415

    parameters = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:]])
    async with stdio_client(parameters) as streams, ClientSession(*streams) as session:
        await session.initialize()
        await session.list_tools()
        yield session


async def main() -> None:
    """Serve."""
    import mcp_types as types  # noqa: PLC0415
    from mcp.server.lowlevel.server import Server  # noqa: PLC0415
    from mcp.server.stdio import stdio_server  # noqa: PLC0415

    number = {"type": "integer"}
    schema = {"type": "object", "properties": {"a": number, "b": number}, "required": ["a", "b"]}

    async def list_tools(_ctx: Any, _params: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[types.Tool(name=TOOL, input_schema=schema)])

    async def call_tool(_ctx: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        given = params.arguments or {}
        return types.CallToolResult(content=[types.TextContent(text=str(given["a"] + given["b"]))])

    server = Server(NAME, on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    import anyio

    anyio.run(main)
