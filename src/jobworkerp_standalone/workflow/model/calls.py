"""What a ``call`` task calls, one class per kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.auth import Authentication
from jobworkerp_standalone.workflow.model.values import Endpoint, Resource, Timeout

HttpOutput = Literal["content", "response", "raw"]


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
    """Such as ``tools/call``."""
    transport: McpHttp | McpStdio
    parameters: Template | None = None
    protocol_version: str | None = None
    timeout: Timeout | None = None
    client_name: str | None = None
    client_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class A2aCall:
    """``call: a2a``: a method of another agent, which its card or its server names."""

    method: Template
    agent_card: Resource | None = None
    server: Endpoint | None = None
    parameters: Template | None = None


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
