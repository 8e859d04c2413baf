"""The two directions of a child's pipes, without a thread and without blocking."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Final

CHUNK_BYTES: Final = 65_536
"""What one read or write moves at most: the capacity of a pipe."""


class InputPipe:
    """Feeds a child's standard input and closes it. A child that stops reading early is not an error.

    With ``stays_open`` it is closed by nobody but the owner, and more may be written at any time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, data: bytes, *, stays_open: bool = False) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._left = memoryview(data)
        self._stays_open = stays_open
        self._armed = False
        self._write()

    @property
    def open(self) -> bool:
        """Whether anything written still has a chance to be read."""
        return self._fd >= 0

    def write(self, data: bytes) -> None:
        """Write at once what fits into the pipe, and the rest as the child reads. Never waits."""
        self._left = memoryview(bytes(self._left) + data if self._left else data)
        if self.open and not self._armed:
            self._write()

    def _write(self) -> None:
        try:
            self._left = self._left[os.write(self._fd, self._left[:CHUNK_BYTES]) :]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            return
        self._watch_or_rest()

    def _watch_or_rest(self) -> None:
        if self._left:
            if not self._armed:
                self._loop.add_writer(self._fd, self._write)
                self._armed = True
        elif not self._stays_open:
            self.close()
        elif self._armed:
            self._armed = False
            self._loop.remove_writer(self._fd)

    def close(self) -> None:
        """Let the child see the end of its input. May be called again."""
        if self._fd < 0:
            return
        if self._armed:
            self._loop.remove_writer(self._fd)
        os.close(self._fd)
        self._fd = -1
        self._left = memoryview(b"")


class OutputPipe:
    """The reading end of one of a child's outputs, registered with the loop only while somebody waits."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int) -> None:
        os.set_blocking(fd, False)
        self._loop = loop
        self._fd = fd
        self._watched = False

    @property
    def open(self) -> bool:
        """Whether more may come."""
        return self._fd >= 0

    def read(self) -> bytes | None:
        """Return what is there: None if nothing is, empty at the end, where the pipe closes."""
        try:
            data = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self.close()
        return data

    def watch(self, callback: Callable[[OutputPipe], None]) -> None:
        """Have ``callback`` called as long as there is something to read."""
        if self._fd >= 0 and not self._watched:
            self._watched = True
            self._loop.add_reader(self._fd, callback, self)

    def unwatch(self) -> None:
        """Leave what comes in the pipe: a child that writes more than it holds has to wait."""
        if self._watched:
            self._watched = False
            self._loop.remove_reader(self._fd)

    def close(self) -> None:
        """Read no more. May be called again."""
        self.unwatch()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
