"""What clients are told about a runner kind."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from jobworkerp_standalone.jobs.model import DEFAULT_METHOD, OutputType, Worker
from jobworkerp_standalone.runners.base import Method, Runner
from jobworkerp_standalone.runners.host import Host

Start = Callable[[bytes], Awaitable[int]]
"""Starts a job of a worker, that nobody waits for, with these args; returns its id, or raises ``RequestError``."""
Ready = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is done for a worker as long as its definition stands, beside its jobs."""

    wanted: Callable[[Worker], bool]
    """Whether there may be anything to do for a worker; must be quick."""
    run: Callable[[Host, Worker, Start, Ready], Awaitable[None]]
    """Do it until cancelled. ``Ready`` is called as soon as nothing is missed any more."""


@dataclass(frozen=True, slots=True)
class RunnerSpec:
    """A runner kind: identity, schemas, and how to make an instance."""

    id: int
    type: int
    """Number of ``RunnerType``; not always one that this program's enum knows."""
    name: str
    description: str
    definition: str
    settings_proto: str = ""
    """Empty: settings are not looked at."""
    methods: Mapping[str, Method] = field(default_factory=dict[str, Method])
    make: Callable[[Host], Runner] | None = None
    """None: listed for clients, not built in this version."""
    default_method: str = DEFAULT_METHOD
    """What a job without ``using`` runs."""
    created_at_ms: int = 0
    not_built: str = ""
    """What is said about a kind without ``make``, after "it is listed but"."""
    prepare: Callable[[], object] | None = None
    """Called in a thread before the first ``make``: imports what takes long to import."""
    tidy: Callable[[Host], Awaitable[None]] | None = None
    """Run beside the start of a daemon that has workers of this kind: removes what one that died left behind."""

    standing: Standing | None = None

    def method(self, using: str | None) -> Method | None:
        """Return the method that ``using`` names; for a kind with the one method ``run`` any name means it."""
        if using and using in self.methods:
            return self.methods[using]
        if not using or set(self.methods) == {DEFAULT_METHOD}:
            return self.methods.get(self.default_method)
        return None

    @property
    def output_type(self) -> OutputType:
        """Return how the default method answers."""
        method = self.methods.get(self.default_method)
        return method.output_type if method else OutputType.NON_STREAMING
