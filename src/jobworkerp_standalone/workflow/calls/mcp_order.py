"""One request to an MCP server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from jobworkerp_standalone.runners.mcp.config import McpServer
from jobworkerp_standalone.workflow.expressions.values import JSON


@dataclass(frozen=True, slots=True)
class McpOrder:
    """What is asked, and of whom."""

    server: McpServer | str
    """A server that the document describes, or the name of a configured one."""
    method: str
    parameters: Mapping[str, JSON] = field(repr=False)
    client_name: str = ""
    client_version: str = ""
    revision: str = ""
    """Of the protocol. This and the client are told to servers that the document describes."""
