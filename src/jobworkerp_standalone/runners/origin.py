"""Where runner kinds come from at run time: plugin directories, MCP servers.

An **origin** knows one type of runner. It offers a kind on the **shelf** when it is there (a file was loaded, a server
was reached), offers it again when it changed, and withdraws it when it is gone for good. Ids, storage and what clients
see are the registry's affair.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobworkerp_standalone.jobs.model import DEFAULT_METHOD
from jobworkerp_standalone.runners.base import Method, Runner
from jobworkerp_standalone.runners.host import Host


@dataclass(frozen=True, slots=True)
class Definition:
    """A runner that somebody asked for by RunnerService.Create, as it was given."""

    name: str
    description: str
    text: str
    """A plugin's path, or the transport of an MCP server as TOML, JSON or YAML. May hold secrets."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A runner kind without an id yet. See ``RunnerSpec`` for the fields."""

    name: str
    description: str
    definition: str
    """What clients see of where it comes from: without secrets."""
    make: Callable[[Host], Runner]
    settings_proto: str = ""
    methods: Mapping[str, Method] = field(default_factory=dict[str, Method])
    default_method: str = DEFAULT_METHOD


class Shelf(Protocol):
    """Takes what an origin has."""

    async def offer(self, origin: Origin, offer: Offer) -> None:
        """Make a kind known, or replace the one of that name and origin.

        A name that belongs to a built-in kind or to another origin is refused with a log line.
        """
        ...

    async def withdraw(self, origin: Origin, name: str) -> None:
        """Take back a kind that will not return."""
        ...


class Origin(Protocol):
    """One source of runner kinds."""

    runner_type: int
    """Number of ``RunnerType``: PLUGIN 0, MCP_SERVER 7."""

    async def run(self, shelf: Shelf) -> None:
        """Offer what the configuration names; go on watching it until cancelled.

        Whatever cannot be loaded or reached is logged and, where that may help, tried again: it never ends the daemon.
        """
        ...

    async def restore(self, shelf: Shelf, definition: Definition) -> None:
        """Look after a definition that was created in an earlier run of the daemon, like a configured one."""
        ...

    async def create(self, definition: Definition) -> Offer:
        """Load or reach it once and look after it from now on.

        Raises:
            InvalidRequest: the text is no definition of this type.
            LoadFailed: it could not be loaded or reached; the message says why.
        """
        ...

    async def forget(self, name: str) -> None:
        """Stop looking after a definition that was deleted."""
        ...
