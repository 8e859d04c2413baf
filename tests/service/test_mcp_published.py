"""A server as it is published, with the commands of the README: whatever library version it was written for."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from tests.support.house import open_house
from tests.support.mcp_desk import Desk, answer, configure
from tests.support.wire_client import build

UVX = Path(sys.executable).with_name("uvx")
SERVER = "mcp-server-time"


@pytest.fixture
async def installed() -> None:
    """Have the server's environment built, which needs a package index."""
    process = await asyncio.create_subprocess_exec(
        UVX, SERVER, "--help", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(90):
            _out, told = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        told = b"it took too long"
    if process.returncode != 0:
        pytest.skip(f"NOT TESTED: {SERVER} could not be installed: {told.decode(errors='replace')[-300:]}")


async def test_the_time_server_tells_the_time(installed: None, tmp_path: Path) -> None:
    args = [SERVER, "--local-timezone=Asia/Tokyo"]
    configure(tmp_path, {"name": "time", "protocol": "stdio", "command": str(UVX), "args": args})
    async with open_house(tmp_path, MCP_CONFIG=str(tmp_path / "mcp-settings.json")) as house:
        desk = Desk(house, tmp_path)
        worker = await desk.worker("time", use_static=True)
        seed = build(
            "jobworkerp.runner.McpServerArgs", tool_name="get_current_time", arg_json='{"timezone": "Asia/Tokyo"}'
        )
        told = answer((await house.enqueue(seed.SerializeToString(), worker)).result.data)
        assert json.loads(told.content[0].text.text)["timezone"] == "Asia/Tokyo"
        own = await desk.bytes_of("get_current_time", {"timezone": "UTC"}, "time")
        told = answer((await house.enqueue(own, worker, using="get_current_time")).result.data)
        assert json.loads(told.content[0].text.text)["timezone"] == "UTC"
        assert answer((await house.enqueue(b"", worker, using="get_current_time")).result.data).is_error
