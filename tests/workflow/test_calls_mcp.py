"""``call: mcp``: servers that a document names itself."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.stage import Stage

SERVER = Path(__file__).parents[1] / "support" / "mcp_server.py"
ROOT = Path(__file__).parents[2]


def call(folder: Path, method: str, parameters: Any = None, **members: Any) -> dict[str, Any]:
    """Return a document with one request to a server that is started for it."""
    stdio = {
        "command": sys.executable,
        "arguments": [str(SERVER), "stdio"],
        "environment": {"MCP_TEST_DIR": str(folder), "PYTHONPATH": str(ROOT)},
    }
    given: dict[str, Any] = {"method": method, "transport": {"stdio": stdio}, **members}
    if parameters is not None:
        given["parameters"] = parameters
    return {"do": [{"ask": {"call": "mcp", "with": given}}]}


async def test_a_tool_is_called(stage: Stage, tmp_path: Path) -> None:
    arguments = {"count": "${ .n }", "tags": ["a"]}
    end = await stage.run(call(tmp_path, "tools/call", {"name": "echo", "arguments": arguments}), {"n": 3})
    assert end.status == "Completed", end.text
    assert '"count": 3' in end.output["content"][0]["text"] or '"count":3' in end.output["content"][0]["text"]


async def test_tools_are_listed(stage: Stage, tmp_path: Path) -> None:
    end = await stage.run(call(tmp_path, "tools/list"), {})
    assert "echo" in [tool["name"] for tool in end.output["tools"]]


@pytest.mark.parametrize(
    ("method", "parameters", "status", "word"),
    [
        ("tools/frobnicate", {}, 400, "tools/call"),
        ("tools/call", {}, 400, "name"),
        ("tools/call", {"name": "refuse", "arguments": {}}, 500, "tools/call"),
    ],
)
async def test_mistakes(stage: Stage, tmp_path: Path, method: str, parameters: Any, status: int, word: str) -> None:
    end = await stage.run(call(tmp_path, method, parameters), {})
    assert end.error["status"] == status, end.text
    assert word in end.error["detail"]


async def test_a_server_that_is_not_there(stage: Stage) -> None:
    transport = {"http": {"endpoint": "http://127.0.0.1:1/mcp"}}
    document = {"do": [{"ask": {"call": "mcp", "with": {"method": "tools/list", "transport": transport}}}]}
    assert (await stage.run(document, {})).error["status"] == 503


async def test_a_slow_server_is_interrupted(stage: Stage, tmp_path: Path) -> None:
    document = call(tmp_path, "tools/call", {"name": "slow", "arguments": {}}, timeout={"milliseconds": 100})
    assert (await stage.run(document, {})).error["status"] == 408
