"""Where runner kinds come from at run time: plugin directories, MCP servers.

An **origin** knows one type of runner. It offers a kind on the **shelf** when it is there (a file was loaded, a server
was reached), offers it again when it changed, and withdraws it when it is gone for good. Ids, storage and what clients
see are the registry's affair (``engine.registry``); ``runners.origins`` lists the origins there are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobworkerp_standalone.jobs.model import DEFAULT_METHOD
from jobworkerp_standalone.runners.base import Runner
from jobworkerp_standalone.runners.description import Method
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.settings import Settings


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

    async def offer(self, origin: Origin, offer: Offer) -> bool:
        """Make a kind known, or replace the one of that name and origin; whether it was taken.

        A name that belongs to a built-in kind or to another origin is refused with a log line. Jobs that run end on
        the kind they started with, later ones get the new one.
        """
        ...

    async def withdraw(self, origin: Origin, name: str) -> None:
        """Take back a kind that can no longer be made. Its id is kept, should it be offered again."""
        ...

    def settled(self, origin: Origin) -> None:
        """Say that everything configured was tried once: offered, or given up for the moment.

        The start of the daemon waits for this, briefly; jobs of kinds that are not there yet wait somewhat longer.
        """
        ...


class Origin(Protocol):
    """One source of runner kinds."""

    runner_type: int
    """Number of ``RunnerType``: PLUGIN 0, MCP_SERVER 7."""

    async def run(self, shelf: Shelf) -> None:
        """Offer what the configuration names, say ``settled``, and go on watching it until cancelled.

        Whatever cannot be loaded or reached is logged and, where that may help, tried again: it never ends the
        daemon. Called once, after every ``restore``.
        """
        ...

    async def restore(self, shelf: Shelf, definition: Definition) -> None:
        """Look after a definition that was created in an earlier run of the daemon, like a configured one.

        Returns at once; loading and reaching is the work of ``run``, before it is ``settled``.
        """
        ...

    async def create(self, definition: Definition) -> Offer:
        """Load or reach it once and look after it from now on.

        The registry has checked the name, and puts the offer under the name and the description of the definition.

        Raises:
            InvalidRequest: the text is no definition of this type.
            AlreadyExists: the configuration has something of that name that is away for the moment.
            LoadFailed: it could not be loaded or reached; the message says why.
        """
        ...

    async def forget(self, name: str) -> None:
        """Stop looking after a kind that was deleted, configured or created.

        One that is configured comes back with the next start of the daemon; until then its offers are refused.
        """
        ...


@dataclass(frozen=True, slots=True)
class OriginKind:
    """A source of runner kinds that this program knows."""

    runner_type: int
    make: Callable[[Host], Origin]
    """Called once at most: at the start if it is configured or has something to restore, else by the first Create."""
    is_configured: Callable[[Settings], bool]
    """Whether the configuration may name something. Cheap, without imports."""
