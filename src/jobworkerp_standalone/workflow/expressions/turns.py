"""Who is next at the helpers: everybody who waits has one turn before anybody has another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Final

_WHO: Final[ContextVar[Hashable]] = ContextVar("who", default=None)


@contextmanager
def turns_of(who: Hashable) -> Iterator[None]:
    """Take turns as somebody while entered, in tasks that are begun meanwhile too."""
    token = _WHO.set(who)
    try:
        yield
    finally:
        _WHO.reset(token)


class Turns:
    """Lets so many at once have a turn.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self._free = count
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        """By who waits, the next one first."""

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and have it while entered."""
        await self._take()
        try:
            yield
        finally:
            self._give_back()

    async def _take(self) -> None:
        if self._free:
            self._free -= 1
            return
        who, turn = _WHO.get(), asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_back()
            raise

    def _give_back(self) -> None:
        while self._waiting:
            who = next(iter(self._waiting))
            theirs = self._waiting.pop(who)
            while theirs:
                turn = theirs.popleft()
                if turn.done():  # who waited was cancelled: that was no turn
                    continue
                if theirs:
                    self._waiting[who] = theirs
                turn.set_result(None)
                return
        self._free += 1
