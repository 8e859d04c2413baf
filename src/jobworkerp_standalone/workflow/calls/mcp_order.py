"""One request to an MCP server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from jobworkerp_standalone.workflow.expressions.values import JSON


@dataclass(frozen=True, slots=True)
class Address:
    """A server that listens (streamable HTTP)."""

    url: str
    headers: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Program:
    """A server that is started for the request and ended after it."""

    command: str
    arguments: Sequence[str] = field(repr=False)
    environment: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class McpOrder:
    """What is asked."""

    server: Address | Program
    method: str
    parameters: Mapping[str, JSON] = field(repr=False)
    client_name: str
    client_version: str
