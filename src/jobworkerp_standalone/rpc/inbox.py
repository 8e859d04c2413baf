"""What one call has received and not read yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from jobworkerp_standalone.jobs.errors import InvalidRequest

_ACKNOWLEDGE_EVERY: Final = 64 * 1024


class Inbox:
    """Bytes of one call that arrived and were not read yet. The sender gets room as they are read, not before."""

    def __init__(self, acknowledge: Callable[[int], None]) -> None:
        self._acknowledge = acknowledge
        self._data = bytearray()
        self._owed = 0
        self._ended = False
        self._arrival: asyncio.Future[None] | None = None

    def add(self, data: bytes, flow_bytes: int) -> None:
        """Take what arrived."""
        self._data += data
        self._owed += flow_bytes
        self._wake()

    def eof(self) -> None:
        """Take note that nothing more will come."""
        self._ended = True
        self._wake()

    async def more(self) -> bool:
        """Wait for the next byte; whether there is one."""
        await self._wait_for(1)
        return bool(self._data)

    async def read(self, size: int) -> bytes:
        """Return exactly ``size`` bytes.

        Raises:
            InvalidRequest: the end came before.
        """
        await self._wait_for(size)
        if len(self._data) < size:
            raise InvalidRequest(f"the request was cut short: {size} more bytes expected, {len(self._data)} came")
        with memoryview(self._data) as view:
            taken = bytes(view[:size])
        del self._data[:size]
        if self._owed - len(self._data) >= _ACKNOWLEDGE_EVERY:
            self._give_room(self._owed - len(self._data))
        return taken

    def unacked_size(self) -> int:
        """Return how many bytes the sender was not given back yet, and count them as given."""
        owed, self._owed = self._owed, 0
        return owed

    async def _wait_for(self, size: int) -> None:
        while len(self._data) < size and not self._ended:
            self._give_room(self._owed)
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival

    def _give_room(self, size: int) -> None:
        if size:
            self._owed -= size
            self._acknowledge(size)

    def _wake(self) -> None:
        if self._arrival is not None and not self._arrival.done():
            self._arrival.set_result(None)
