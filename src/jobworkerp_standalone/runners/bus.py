"""Events that workflows emit and listen for, within one process: in order, each to everybody who listens then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import anyio

from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.interest import Interest

Event = Mapping[str, Any]
"""A CloudEvent as a JSON object, which nobody changes."""
T = TypeVar("T")


Keep = Callable[[], Coroutine[Any, Any, None]]
"""Returns when what was taken is written down."""


@dataclass(slots=True)
class _Listener:
    take: Callable[[Event], None]
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
        for listener in meant:
            listener.take(event)
        return meant

    @contextmanager
    def heard_by(
        self, take: Callable[[Event], None], interest: Interest, keep: Keep | None = None
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


class Overrun(Exception):
    """More waited for a slow listener than may wait."""


class Ear(Generic[T]):
    """What waits for one listener.

    Args:
        limit: so many may wait; more are an ``Overrun``, as none may be lost without a word.
        limit_size: of all that wait, where ``put`` is told sizes.
    """

    def __init__(self, limit: int, limit_size: int = 0) -> None:
        self._limit = limit
        self._limit_size = limit_size
        self._waiting: deque[tuple[T, int]] = deque()
        self._size = 0
        self._there = anyio.Event()
        self._overrun = ""

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def put(self, event: T, size: int = 0) -> None:
        """Take an event. What comes after one that was lost is lost too, so that there is but one gap, at the end."""
        if self._overrun or len(self._waiting) >= self._limit:
            self._overrun = self._overrun or f"more than {self._limit:,} events waited"
        elif self._waiting and self._size + size > self._limit_size > 0:
            self._overrun = f"events of more than {self._limit_size:,} bytes waited"
        else:
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
