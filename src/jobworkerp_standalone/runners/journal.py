"""What a job writes down while it runs, and tells to those who watch it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol


class Entry(Protocol):
    """One thing that was written down."""

    @property
    def id(self) -> int:
        """Unique; grows with time."""
        ...

    @property
    def key(self) -> str:
        """Its name within the run."""
        ...

    @property
    def data(self) -> bytes:
        """What was written down."""
        ...


Relieved = Callable[[], Awaitable[Sequence[Entry]]]
"""Returns the events (``HEARD``) that are written down for a run, once those that were noted for it are among them."""


class Journal(Protocol):
    """The notes of one job, kept in the store under the name of a **run**, and its events, kept in memory a while."""

    @property
    def durable(self) -> bool:
        """Whether the job has a row: should the process die, the job begins again and finds what it wrote."""
        ...

    @property
    def attempt(self) -> str:
        """Which attempt of which run of the job this is; the same where it begins again after a death or a stop."""
        ...

    @property
    def goes_on(self) -> int | None:
        """The job that this one was made to go on with; None for one that begins anew."""
        ...

    @property
    def watched(self) -> bool:
        """Whether events are of use: somebody watches, or may want to know later."""
        ...

    async def read(self, run: str) -> Sequence[Entry]:
        """Return what was written down for a run, oldest first; keys of the engine's own begin with ``:``."""
        ...

    async def write(self, run: str, added: Sequence[tuple[str, bytes]], removed: Sequence[int]) -> Sequence[int]:
        """Add notes by key and remove others by id, in one step; on disk when this returns. Return the new ids."""
        ...

    async def forget(self, run: str) -> None:
        """Remove all notes of a run."""
        ...

    def why_dropped(self, run: str) -> str:
        """Return why what was written down for a run is gone before its time, for a message; empty where it is not."""
        ...

    def number(self) -> int:
        """Return a number above all that were given before, and above the keys of what was ``HEARD`` until now."""
        ...

    def relieve(self) -> Relieved | None:
        """Let the run hear by itself from this moment on: nobody notes events for it any more. None: nobody did."""
        ...

    def ended(self) -> None:
        """The run is over and nothing goes on with it: its notes under the job's own name go with the job."""
        ...

    def tell(self, event: bytes) -> None:
        """Hand an event (a ``WorkflowEvent``) to those who watch this job."""
        ...


WISH: Final = ":wish"
"""Key of how somebody wants to go on with a run: a JSON object with ``payload``, ``from``, ``after``."""

STEP: Final = "/"
"""Begins the keys of what a run has done: who writes one down got on, also if its process dies later."""

HEARS: Final = ":hears"
"""Key of which events a durable run wants to hear: an ``Interest`` as JSON with the ``attempt`` that hears them."""

HEARD: Final = "heard/"
"""Begins the keys of events that a run has heard; a growing number ends them. A JSON object with the ``event``."""

WAITS: Final = ":waits"
"""Key of what is told of a run that waits: the fields of ``WaitingRun`` but the job, as a JSON object."""
