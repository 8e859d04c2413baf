"""Events that workflows emit and listen for, within one process: in order, each to everybody who listens then."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import anyio

from jobworkerp_standalone.runners.host import Host

Event = Mapping[str, Any]
"""A CloudEvent as a JSON object, which nobody changes."""


class EventBus:
    """One for each daemon: ``host.shared(EventBus)``."""

    def __init__(self, _host: Host) -> None:
        self._takers: dict[int, Callable[[Event], None]] = {}
        self._number = 0

    @property
    def listeners(self) -> int:
        """How many listen now."""
        return len(self._takers)

    def publish(self, event: Event) -> None:
        """Hand an event to everybody who listens now."""
        for take in list(self._takers.values()):
            take(event)

    @contextmanager
    def heard_by(self, take: Callable[[Event], None]) -> Iterator[None]:
        """Call ``take`` with each event while entered. It must be quick and never fail."""
        self._number += 1
        number = self._number
        self._takers[number] = take
        try:
            yield
        finally:
            del self._takers[number]


class Overrun(Exception):
    """More events waited for a slow listener than may wait."""


class Ear:
    """Events that wait for one listener.

    Args:
        limit: so many may wait; more are an ``Overrun``, as none may be lost without a word.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: deque[Event] = deque()
        self._there = anyio.Event()
        self._overrun = False

    def put(self, event: Event) -> None:
        """Take an event."""
        if len(self._waiting) >= self._limit:
            self._overrun = True
        else:
            self._waiting.append(event)
        self._there.set()

    async def next(self) -> Event:
        """Return the next event as soon as there is one.

        Raises:
            Overrun: some were lost before the next one.
        """
        while not self._waiting:
            if self._overrun:
                raise Overrun(f"more than {self._limit} events waited")
            self._there = anyio.Event()
            await self._there.wait()
        return self._waiting.popleft()
