"""Events that workflows emit and listen for, within one process: in order, each to everybody who listens then."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar, cast

import anyio

from jobworkerp_standalone.jobs.json_fragments import JSON
from jobworkerp_standalone.jobs.json_size import size_up_to
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.interest import Interest
from jobworkerp_standalone.runners.json_turns import written
from jobworkerp_standalone.settings import Settings

Event = Mapping[str, Any]
"""A CloudEvent as a JSON object, which nobody changes."""
_LARGEST: Final = 2**30
"""Nothing is counted beyond that."""
compact: Final = json.JSONEncoder(separators=(",", ":")).encode
T = TypeVar("T")


Keep = Callable[[], Coroutine[Any, Any, None]]
"""Returns when what was taken is written down."""


class Published:
    """An event on its way to everybody who hears it, with what is made of it once for all of them."""

    def __init__(self, event: Event) -> None:
        self.event: Final = event
        self.size: Final = size_up_to(_LARGEST, (event,))
        """About how many characters it has as JSON."""
        self._text: str | None = None
        self._writing: anyio.Lock | None = None

    async def text(self) -> str:
        """Return it as JSON.

        Raises:
            RecursionError: it is nested too deeply.
        """
        if self._text is None:
            self._writing = self._writing or anyio.Lock()
            async with self._writing:
                if self._text is None:
                    self._text = await written(cast("JSON", self.event), compact)
        return self._text


Take = Callable[[Published], None]


@dataclass(slots=True)
class _Listener:
    take: Take
    keep: Keep | None
    interest: Interest


class EventBus:
    """One for each daemon: ``host.shared(EventBus)``."""

    def __init__(self, _host: Host) -> None:
        self._listeners: dict[int, _Listener] = {}
        self._lifecycle: dict[int, _Listener] = {}
        """Those among them that hear lifecycle events."""
        self._number = 0
        self.closed = False
        """The runs that would hear what comes from outside are being ended."""

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._listeners)

    @property
    def watched(self) -> bool:
        """Whether anybody hears lifecycle events; else they need not be made."""
        return bool(self._lifecycle)

    def wants(self, type_: str) -> bool:
        """Whether anybody hears lifecycle events of this type."""
        return any(each.interest.means(type_) for each in self._lifecycle.values())

    async def publish(self, event: Event, later: Keep | None = None) -> None:
        """Hand an event to everybody who listens for it now; wait until those who do so have written it down.

        Args:
            event: a good one.
            later: nobody waits for this one.
        """
        keeps = [each.keep for each in self.hand_on(event) if each.keep is not None and each.keep != later]
        if keeps:
            async with anyio.create_task_group() as tasks:
                for keep in keeps:
                    tasks.start_soon(keep)

    def hand_on(self, event: Event) -> Sequence[_Listener]:
        """Hand an event to everybody who listens for it now, and wait for nothing."""
        type_ = event["type"]
        meant = [listener for listener in self._listeners.values() if listener.interest.means(type_)]
        if meant:
            published = Published(event)
            for listener in meant:
                listener.take(published)
        return meant

    @contextmanager
    def heard_by(
        self, take: Take, interest: Interest, keep: Keep | None = None
    ) -> Iterator[Callable[[Interest], None]]:
        """Call ``take`` with each event of interest while entered, then ``keep``. Neither may fail; ``take`` is quick.

        Gives what changes the interest.
        """
        self._number += 1
        number = self._number
        listener = self._listeners[number] = _Listener(take, keep, interest)

        def change(interest: Interest) -> None:
            listener.interest = interest
            if interest.hears_lifecycle:
                self._lifecycle[number] = listener
            else:
                self._lifecycle.pop(number, None)

        change(interest)
        try:
            yield change
        finally:
            del self._listeners[number]
            self._lifecycle.pop(number, None)


@dataclass(frozen=True, slots=True)
class Room:
    """How much may wait for one listener."""

    events: int
    size: int
    """Of all that wait, about how many characters as JSON. A single one may be larger."""
    named: tuple[str, str] = ("", "")
    """What says so, for those who read that it was too little."""

    @classmethod
    def of(cls, settings: Settings) -> Room:
        """Return how much is kept for a run of a workflow, or for a worker that events start."""
        names = (" (WORKFLOW_EVENTS_KEPT)", " (WORKFLOW_EVENTS_KEPT_BYTES)")
        return cls(settings.workflow_events_kept, settings.workflow_events_kept_bytes, names)

    def problem(self, events: int, size: int) -> str:
        """Return which limit so many events of such a size in all break; empty where they break none."""
        if events > self.events:
            return f"more than {self.events:,} events waited{self.named[0]}"
        if events > 1 and size > self.size:
            return f"events of more than {self.size:,} bytes waited{self.named[1]}"
        return ""


class Overrun(Exception):
    """More waited for a slow listener than may wait."""


class Ear(Generic[T]):
    """What waits for one listener.

    Args:
        room: how much may wait; more is an ``Overrun``, as none may be lost without a word.
    """

    def __init__(self, room: Room) -> None:
        self._room = room
        self._waiting: deque[tuple[T, int]] = deque()
        self._size = 0
        self._there = anyio.Event()
        self._overrun = ""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, event: T, size: int) -> None:
        """Take an event. What comes after one that was lost is lost too, so that there is but one gap, at the end."""
        self._overrun = self._overrun or self._room.problem(len(self._waiting) + 1, self._size + size)
        if not self._overrun:
            self._waiting.append((event, size))
            self._size += size
        self._there.set()

    async def next(self) -> T:
        """Return the next event as soon as there is one.

        Raises:
            Overrun: some were lost before the next one.
        """
        while not self._waiting:
            if self._overrun:
                raise Overrun(self._overrun)
            self._there = anyio.Event()
            await self._there.wait()
        event, size = self._waiting.popleft()
        self._size -= size
        return event
