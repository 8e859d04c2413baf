"""The contract between the engine and whatever does the work.

A **runner** is one loaded instance: made, loaded with a worker's settings, run once or many times, closed.
Cancelling the task that runs it is the only way to stop it (a deleted job, a time-out and a shutdown look the
same); it cleans up in ``finally`` under a shielded scope and lets the cancellation pass.
"""

from __future__ import annotations

import abc
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from jobworkerp_standalone.jobs.model import DEFAULT_METHOD, NO_METADATA
from jobworkerp_standalone.runners.children import Children
from jobworkerp_standalone.runners.journal import Journal

Send = Callable[[bytes], Awaitable[None]]
"""Hands one stream item on. Waits while the readers are behind."""


@dataclass(slots=True)
class Call:
    """One run of a job, as the runner sees it."""

    job_id: int
    args: bytes
    method: str = DEFAULT_METHOD
    metadata: Mapping[str, str] = field(default_factory=lambda: NO_METADATA)
    feed: AsyncIterator[bytes] | None = None
    """What the client streams in, for methods that ask for it."""
    last_words: str = ""
    """What a cancelled or timed-out run leaves behind for the failure text; set while running."""
    trailer: dict[str, str] = field(default_factory=dict)
    """Metadata for the end of the stream."""
    children: Children | None = None
    """Jobs that this one may start. None outside of an engine."""
    journal: Journal | None = None
    """Where it writes down how far it is, and tells what happens. None outside of an engine."""


class Collector(Protocol):
    """Folds the items of one stream into one result."""

    def add(self, item: bytes) -> None:
        """Take the next item."""
        ...

    def result(self) -> bytes:
        """Return the result so far, as the bytes of the method's result message."""
        ...


class LastItem:
    """The default rule: the last item is the result."""

    def __init__(self) -> None:
        self._last = b""

    def add(self, item: bytes) -> None:
        """Keep it instead of the one before."""
        self._last = item

    def result(self) -> bytes:
        """Return the last item."""
        return self._last


class Runner(abc.ABC):
    """One instance of a runner kind."""

    kept: bool = False
    """Whether more jobs of the worker come to this instance (``use_static``). Set before it is loaded."""

    async def load(self, settings: bytes) -> None:
        """Get ready with a worker's settings.

        Raises:
            JobError: any failure here ends the job as FATAL_ERROR.
        """

    async def warm_up(self) -> None:
        """Do ahead what the first run would have to do; called where a worker is loaded without a job.

        Raises:
            JobError: the first run would fail with it.
        """

    @abc.abstractmethod
    async def run(self, call: Call) -> bytes:
        """Do the work and return the bytes of the result message.

        Raises:
            JobError: the attempt failed; the class says how.
        """

    async def stream(self, call: Call, send: Send) -> None:
        """Do the work and send result items as they come; return at the end of the stream.

        A kind that cannot stream sends its one result.
        """
        await send(await self.run(call))

    def collector(self, method: str) -> Collector:  # noqa: ARG002 - others have several methods
        """Return a new folder for a stream of ``method``."""
        return LastItem()

    @property
    def reusable(self) -> bool:
        """Whether a warm instance may serve another job after the last one."""
        return True

    async def aclose(self) -> None:
        """Give everything back. Called once, also after a failed load."""
