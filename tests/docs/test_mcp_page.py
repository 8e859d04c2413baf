"""The examples of the page about MCP servers are read and converted as printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from jobworkerp_standalone.runners.mcp.settings_file import read_settings
from jobworkerp_standalone.runners.mcp.tools import Toolbox, ToolCall, ToolInfo
from jobworkerp_standalone.schema.convert import json_to_bytes
from jobworkerp_standalone.schema.text import root_message

PAGE = (Path(__file__).parents[2] / "docs" / "runners" / "mcp.md").read_text()
ZONE = {"type": "object", "properties": {"timezone": {"type": "string"}}, "required": ["timezone"]}


def test_the_settings_are_good() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    found = read_settings(example, "mcp-settings.toml")
    assert list(found.servers) == ["time", "search"]
    assert not found.mistakes


def test_the_args_mean_the_call() -> None:
    boxes = [
        Toolbox.make("time", [ToolInfo("get_current_time", "", ZONE)]),
        Toolbox.make("time", [ToolInfo("get_current_time", "", ZONE), ToolInfo("convert_time", "", {})]),
    ]
    commands = [shlex.split(line) for line in PAGE.splitlines() if line.startswith("jobworkerp job enqueue")]
    assert len(commands) == 2
    for words in commands:
        using = words[words.index("--using") + 1] if "--using" in words else "run"
        text = words[words.index("--args") + 1]
        for box in boxes:
            args = json_to_bytes(text, root_message(box.methods()[using].args_proto))
            assert box.read(using, args) == ToolCall("get_current_time", {"timezone": "Asia/Tokyo"}, False)
