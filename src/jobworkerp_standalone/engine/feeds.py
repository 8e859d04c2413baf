"""What clients stream into their running jobs, buffered in order until the runner reads it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

CAPACITY: Final = 1024
CAPACITY_BYTES: Final = 1024 * 1024
"""Messages that wait for the runner, and their bytes; then the client's stream is read no further."""


class Feed:
    """One job's input stream."""

    def __init__(self) -> None:
        self._items: deque[bytes] = deque()
        self._bytes = 0
        self._ended = False
        self._changed = asyncio.Event()

    async def put(self, item: bytes) -> None:
        """Add a message, waiting while the runner is behind. Ignored once the feed ended."""
        while self._is_full() and not self._ended:
            await self._wait()
        if not self._ended:
            self._items.append(item)
            self._bytes += len(item)
            self._wake()

    def end(self) -> None:
        """No more input."""
        self._ended = True
        self._wake()

    async def items(self) -> AsyncIterator[bytes]:
        """Yield messages until the end."""
        while True:
            if self._items:
                item = self._items.popleft()
                self._bytes -= len(item)
                self._wake()
                yield item
            elif self._ended:
                return
            else:
                await self._wait()

    def _is_full(self) -> bool:
        return len(self._items) >= CAPACITY or self._bytes >= CAPACITY_BYTES

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()


class Feeds:
    """The feeds of all live jobs that have one."""

    def __init__(self) -> None:
        self._feeds: dict[int, Feed] = {}

    def open(self, job_id: int) -> Feed:
        """Open the feed of a job before it is queued, so that nothing the client sends is lost."""
        feed = self._feeds[job_id] = Feed()
        return feed

    def reader(self, job_id: int) -> AsyncIterator[bytes]:
        """Return the input of a job; an empty one where no client feeds it."""
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = Feed()
            feed.end()
        return feed.items()

    def close(self, job_id: int) -> None:
        """End and forget the feed of a job that ended."""
        feed = self._feeds.pop(job_id, None)
        if feed is not None:
            feed.end()
