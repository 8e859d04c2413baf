"""What is configured about one MCP server, and what of it may be shown."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jobworkerp_standalone.runners.redaction import (
    Redactor,
    hide_in_arguments,
    hide_in_url,
    hide_values,
    secrets_of_arguments,
    secrets_of_url,
)

NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Stdio:
    """A server that is a program: requests on its standard input, answers on its standard output."""

    command: str
    args: tuple[str, ...] = ()
    envs: Mapping[str, str] = field(default_factory=lambda: NOTHING)
    working_dir: str = ""

    def shown(self) -> dict[str, Any]:
        """Return the keys of a definition, without secrets."""
        keys: dict[str, Any] = {"transport": "stdio", "command": self.command, "args": hide_in_arguments(self.args)}
        if self.envs:
            keys["envs"] = hide_values(self.envs)
        return keys | ({"working_dir": self.working_dir} if self.working_dir else {})

    def secrets(self) -> Iterator[str]:
        """Yield what must appear in no text."""
        yield from self.envs.values()
        yield from secrets_of_arguments(self.args)


@dataclass(frozen=True, slots=True)
class Http:
    """A server at an address."""

    kind: str
    """``streamable-http``, or ``sse``: whichever of streamable HTTP and the older SSE it speaks."""
    url: str
    headers: Mapping[str, str] = field(default_factory=lambda: NOTHING)

    def shown(self) -> dict[str, Any]:
        """Return the keys of a definition, without secrets."""
        keys: dict[str, Any] = {"transport": self.kind, "url": hide_in_url(self.url)}
        return keys | ({"headers": hide_values(self.headers)} if self.headers else {})

    def secrets(self) -> Iterator[str]:
        """Yield what must appear in no text."""
        yield from self.headers.values()
        yield from secrets_of_url(self.url)


@dataclass(frozen=True, slots=True)
class Limits:
    """Time limits of one server in seconds; None: what the settings say, for calls no limit."""

    start: float | None = None
    connect: float | None = None
    tools: float | None = None
    call: float | None = None


@dataclass(frozen=True)
class McpServer:
    """One server."""

    name: str
    transport: Stdio | Http
    description: str = ""
    limits: Limits = field(default_factory=Limits)
    isolated: bool = False
    """Each runner instance has a session (and process) of its own, instead of one for all jobs."""

    @cached_property
    def definition(self) -> str:
        """What clients see."""
        return json.dumps(self.transport.shown(), ensure_ascii=False)

    @cached_property
    def redactor(self) -> Redactor:
        """Takes this server's secrets out of texts."""
        return Redactor(self.transport.secrets())
