"""How MCP servers are reached."""

from __future__ import annotations

from dataclasses import dataclass

from jobworkerp_standalone.settings.parsing import number, setting


@dataclass(frozen=True, kw_only=True)
class McpSettings:
    """How MCP servers are reached. A server's own entry may set other limits."""

    mcp_connection_timeout_secs: int = setting(
        "MCP_CONNECTION_TIMEOUT_SECS",
        number(1, 86_400),
        15,
        "How long an MCP server may take to answer the first request; also how long a job waits for a server.",
    )
    mcp_transport_start_timeout_secs: int = setting(
        "MCP_TRANSPORT_START_TIMEOUT_SECS",
        number(1, 86_400),
        15,
        "How long starting an MCP server's process, or connecting to its address, may take.",
    )
    mcp_tools_load_timeout_secs: int = setting(
        "MCP_TOOLS_LOAD_TIMEOUT_SECS", number(1, 86_400), 10, "How long an MCP server may take to list its tools."
    )
    mcp_config_watch_ms: int = setting(
        "MCP_CONFIG_WATCH_MS",
        number(0, 3_600_000),
        2000,
        "How often MCP_CONFIG is looked at for changes; 0: it is read at the start only.",
    )
    mcp_reconnect_max_secs: int = setting(
        "MCP_RECONNECT_MAX_SECS",
        number(1, 86_400),
        60,
        "The longest pause between two attempts to reach an MCP server. A job that needs it does not wait for its end.",
    )
