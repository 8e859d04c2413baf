"""Streams of results: one writer, any number of readers, no gaps.

A stream keeps its latest items up to a size limit, so that whoever comes late reads from the first item still
kept. The **caller** that enqueued the job sets the pace: the writer waits while the caller is behind. Other
listeners never slow the job down; one that falls behind what is kept gets an error instead of a gap.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final

from jobworkerp_standalone.jobs.errors import Exhausted, Unavailable
from jobworkerp_standalone.jobs.model import JobResult

_WINDOW_ITEMS: Final = 256
_WINDOW_BYTES: Final = 1024 * 1024
_ITEM_OVERHEAD: Final = 64
_TURN_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """How a stream ended."""

    result: JobResult
    trailer: dict[str, str] = field(default_factory=dict[str, str])


class JobStream:
    """The items of one streaming job.

    Args:
        keep_bytes: how much is kept for those who come late.
    """

    def __init__(self, keep_bytes: int) -> None:
        self._keep_bytes = keep_bytes
        self._items: deque[bytes] = deque()
        self._first = 0
        self._kept_bytes = 0
        self._sent_bytes = 0
        self._unseen_bytes = 0
        self._readers: set[StreamReader] = set()
        self._changed: set[asyncio.Future[None]] = set()
        self.started: JobResult | None = None
        """What is known when the stream starts: ids, times, no output."""
        self.end: StreamEnd | None = None
        self.aborted: Unavailable | None = None

    @property
    def sent(self) -> int:
        """Items sent so far."""
        return self._first + len(self._items)

    @property
    def size(self) -> int:
        """Bytes held in memory."""
        return self._kept_bytes

    @property
    def idle(self) -> bool:
        """Nobody reads it and nothing was ever written."""
        return self.started is None and not self._readers

    def start(self, provisional: JobResult) -> None:
        """Let readers know that the run began."""
        self.started = provisional
        self._notify()

    async def send(self, item: bytes) -> None:
        """Append an item; wait while the caller is behind."""
        self._items.append(item)
        self._kept_bytes += len(item) + _ITEM_OVERHEAD
        self._sent_bytes += len(item)
        self._trim()
        self._notify()
        self._unseen_bytes += len(item) + _ITEM_OVERHEAD
        if self._unseen_bytes >= _TURN_BYTES:
            self._unseen_bytes = 0
            await asyncio.sleep(0)  # a quick writer lets its readers read
        while self._caller_is_behind():
            await self._wait()

    def close(self, end: StreamEnd) -> None:
        """End the stream; readers finish what is kept first."""
        self.end = end
        if self.started is None:
            self.started = end.result
        self._notify()

    def abort(self, reason: Unavailable) -> None:
        """End all readers with an error: the process stops and the job did not end."""
        self.aborted = reason
        self._notify()

    def reader(self, *, caller: bool) -> StreamReader:
        """Return a reader from the first item kept. ``caller``: the one who sets the pace."""
        reader = StreamReader(self, *self.beginning, caller=caller)
        self._readers.add(reader)
        return reader

    @property
    def beginning(self) -> tuple[int, int]:
        """Position of the first item kept, and the bytes of those before it."""
        return self._first, self._sent_bytes - self._kept_bytes + _ITEM_OVERHEAD * len(self._items)

    def forget(self, reader: StreamReader) -> None:
        """Stop waiting for a reader that went away."""
        self._readers.discard(reader)
        self._trim()
        self._notify()

    def advanced(self) -> None:
        """A reader took an item."""
        self._trim()
        self._notify()

    async def changed(self) -> None:
        """Wait for anything new."""
        await self._wait()

    def item(self, position: int) -> bytes | None:
        """Return an item, None where it has not come yet.

        Raises:
            Exhausted: it is no longer kept.
        """
        if position < self._first:
            raise Exhausted(
                f"this listener is {self._first - position} items behind what is kept of the stream; "
                "read faster, or raise STREAM_STORE_MAX_BYTES"
            )
        index = position - self._first
        return self._items[index] if index < len(self._items) else None

    def _caller_is_behind(self) -> bool:
        return any(
            reader.caller
            and (
                self.sent - reader.position > _WINDOW_ITEMS
                or (self.sent - reader.position > 1 and self._sent_bytes - reader.taken_bytes > _WINDOW_BYTES)
            )
            for reader in self._readers
        )

    def _trim(self) -> None:
        newest = self.sent - 1  # kept for readers that are about to be woken, however large it is
        needed = min((reader.position for reader in self._readers if reader.caller), default=newest)
        needed = min(needed, newest)
        while self._kept_bytes > self._keep_bytes and self._items and self._first < needed:
            self._kept_bytes -= len(self._items.popleft()) + _ITEM_OVERHEAD
            self._first += 1

    def _notify(self) -> None:
        changed, self._changed = self._changed, set()
        for waiter in changed:
            if not waiter.done():
                waiter.set_result(None)

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.add(waiter)
        try:
            await waiter
        finally:
            self._changed.discard(waiter)


class StreamReader:
    """One reader's place in a stream. Close it when done, so that nobody waits for it."""

    def __init__(self, stream: JobStream, position: int, taken_bytes: int, *, caller: bool) -> None:
        self._stream = stream
        self.position = position
        self.taken_bytes = taken_bytes
        self.caller = caller

    async def items(self) -> AsyncIterator[bytes]:
        """Yield items to the end of the stream.

        Raises:
            Exhausted: this listener fell behind what is kept.
            Unavailable: the process stops.
        """
        stream = self._stream
        while True:
            item = stream.item(self.position)
            if item is not None:
                self.position += 1
                self.taken_bytes += len(item)
                stream.advanced()
                yield item
            elif stream.end is not None:
                return
            elif stream.aborted is not None:
                raise stream.aborted
            else:
                await stream.changed()

    def restart(self) -> None:
        """Go to the first item that is still kept."""
        self.position, self.taken_bytes = self._stream.beginning

    async def start(self) -> JobResult:
        """Wait until the run begins and return what is known then.

        Raises:
            Unavailable: the process stops.
        """
        while self._stream.started is None:
            if self._stream.aborted is not None:
                raise self._stream.aborted
            await self._stream.changed()
        return self._stream.started

    @property
    def result(self) -> JobResult | None:
        """How the job ended, once it did."""
        return self._stream.end.result if self._stream.end else None

    @property
    def trailer(self) -> dict[str, str]:
        """Metadata that came with the end of the stream."""
        return self._stream.end.trailer if self._stream.end else {}

    def close(self) -> None:
        """Give the place up."""
        self._stream.forget(self)
