"""Jobs that a running job starts. They come in through the same door as a client's: visible, cancellable, settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobworkerp_standalone.jobs.model import NO_METADATA, JobResult, Worker
from jobworkerp_standalone.runners.description import RunnerDescription


@dataclass(frozen=True, slots=True)
class Secret:
    """What nobody but the runner of a child may see."""

    args: bytes = field(repr=False)
    """What the runner gets instead of the args of the job."""
    hidden: Callable[[str], str]
    """Takes what is secret out of a text that says why the job failed."""


@dataclass(frozen=True, slots=True)
class ChildOrder:
    """One job that a running job wants to have run."""

    worker: Worker | str
    """The name of a worker, or a definition without an id: a worker of its own for this job, which leaves no trace, or
    with ``use_static`` the stored worker of that name, made or brought to this definition first."""
    args: bytes = b""
    using: str | None = None
    timeout_ms: int = 0
    """Limit of one attempt; 0 is none."""
    secret: Secret | None = None
    """It stays in memory, so the child must be waited for and its worker's queue type be NORMAL."""
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    """For the child beside what it takes over from its parent, which wins."""


Started = Callable[[int], None]
"""Told the id of a child when it was accepted, before it runs."""


class Children(Protocol):
    """What a running job may do with jobs of its own.

    A child that is waited for runs on the slot that its parent holds, where they share a channel and nothing else runs
    there; else on a free slot, or on one whose job waits for a child too. Whoever stops waiting (is cancelled, runs out
    of time) ends the child and waits for its end. A child that nobody waits for goes on after its
    parent, unless the parent is cancelled or its job's own limit of time ends it.

    Every method raises ``RequestError`` where a child cannot be accepted.
    """

    def runner(self, name: str) -> RunnerDescription | None:
        """Return a runner kind by name."""
        ...

    def runner_of(self, worker: Worker) -> RunnerDescription | None:
        """Return the runner kind of a worker, if it is there."""
        ...

    def workers(self) -> Iterator[Worker]:
        """Iterate over the stored workers."""
        ...

    async def worker(self, name: str) -> Worker | None:
        """Return a stored worker by name."""
        ...

    async def run(self, order: ChildOrder, started: Started | None = None) -> JobResult:
        """Start a child and return how it ended, whatever that is."""
        ...

    async def stream(
        self, order: ChildOrder, send: Callable[[bytes], Awaitable[None]], started: Started | None = None
    ) -> JobResult:
        """Start a streaming child, hand each item up, and return how it ended, with the folded output."""
        ...

    async def start(self, order: ChildOrder) -> int:
        """Start a child that nobody waits for and return its id."""
        ...

    async def keep(self, worker: Worker) -> Worker:
        """Store a new worker and return it with its id."""
        ...

    async def discard(self, worker: Worker) -> None:
        """Remove a stored worker."""
        ...
