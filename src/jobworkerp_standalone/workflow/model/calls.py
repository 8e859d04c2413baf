"""What a ``call`` task calls, one class per kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.auth import Authentication
from jobworkerp_standalone.workflow.model.values import Endpoint, Resource, Timeout

HttpOutput = Literal["content", "response", "raw"]
A2aVersion = Literal["0.3", "1.0"]
A2A_METHODS: Final[Mapping[str, str]] = {
    "message/send": "SendMessage",
    "message/stream": "SendStreamingMessage",
    "tasks/get": "GetTask",
    "tasks/list": "ListTasks",
    "tasks/cancel": "CancelTask",
    "tasks/resubscribe": "SubscribeToTask",
    "tasks/pushNotificationConfig/set": "CreateTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/get": "GetTaskPushNotificationConfig",
    "tasks/pushNotificationConfig/list": "ListTaskPushNotificationConfigs",
    "tasks/pushNotificationConfig/delete": "DeleteTaskPushNotificationConfig",
    "agent/getAuthenticatedExtendedCard": "GetExtendedAgentCard",
}
"""What can be asked of agents, by the names of A2A 0.3, which the DSL has, and what A2A 1.0 calls it."""
A2A_STREAMS: Final = frozenset({"message/stream", "tasks/resubscribe"})
"""Answered by a stream of events."""
MCP_METHODS: Final[Mapping[str, str | None]] = {
    "tools/list": None,
    "tools/call": "name",
    "prompts/list": None,
    "prompts/get": "name",
    "resources/list": None,
    "resources/read": "uri",
    "resources/templates/list": None,
    "ping": None,
}
"""What can be asked of MCP servers, and the parameter that it needs. ``ping`` is not in the DSL."""
MCP_REVISION: Final = "2025-06-18"
"""Of the protocol, where a document names none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpCall:
    """``call: http``."""

    method: Template
    endpoint: Endpoint
    headers: Template | None = None
    query: Template | None = None
    body: Template | None = None
    output: HttpOutput = "content"
    redirect: bool = False
    """Whether an answer with a 3xx status counts as success."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GrpcCall:
    """``call: grpc``. Without ``proto`` the server's reflection says what the method takes."""

    service: Template
    host: Template
    method: Template
    port: Template | None = None
    authentication: Authentication | None = None
    proto: Resource | None = None
    arguments: Template | None = None
    """An object; an array of objects where the method takes a stream."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenApiCall:
    """``call: openapi``."""

    document: Resource
    operation_id: Template
    parameters: Template | None = None
    authentication: Authentication | None = None
    output: HttpOutput = "content"
    redirect: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class McpHttp:
    """An MCP server that listens."""

    endpoint: Endpoint
    headers: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class McpStdio:
    """An MCP server that is started for the call."""

    command: Template
    arguments: Template | None = None
    environment: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class McpCall:
    """``call: mcp``."""

    method: Template
    """One of ``MCP_METHODS``."""
    transport: McpHttp | McpStdio | None = None
    server: Template | None = None
    """A configured server, by its name; in place of ``transport``."""
    parameters: Template | None = None
    protocol_version: str = MCP_REVISION
    timeout: Timeout | None = None
    client_name: str | None = None
    client_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class A2aCall:
    """``call: a2a``: a method of another agent, which its card or its server names."""

    method: Template
    """One of ``A2A_METHODS``."""
    agent_card: Resource | None = None
    server: Endpoint | None = None
    """Of no importance where there is a card."""
    parameters: Template | None = None
    version: A2aVersion | None = None
    """Of the protocol; None is what the card says, or 0.3."""
    authentication: Authentication | None = None
    headers: Template | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionCall:
    """A call of a function: of ``use.functions``, of a catalog, or of a file at a URL."""

    name: str
    """Its name, or its URL where ``url`` is true."""
    version: str | None = None
    catalog: str | None = None
    """A key of ``use.catalogs``, or ``default``; None is ``use.functions`` or a URL."""
    url: bool = False
    with_: Template | None = None


Call = HttpCall | GrpcCall | OpenApiCall | McpCall | A2aCall | FunctionCall
