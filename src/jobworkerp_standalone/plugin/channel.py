"""Frames between the daemon and a worker process: a kind, a length, the data."""

from __future__ import annotations

import select
import socket
import struct
from typing import Final

HEADER: Final = struct.Struct("!cI")
LOAD: Final = b"L"
"""JSON: what to import; then ``SETTINGS``, unless it is only to be described."""
SETTINGS: Final = b"S"
DESCRIBED: Final = b"D"
"""JSON: the runner classes."""
READY: Final = b"R"
JOB: Final = b"J"
"""JSON: the job; then ``ARGS``."""
ARGS: Final = b"A"
ITEM: Final = b"I"
WANT: Final = b"W"
"""The plugin asks for the next item of its feed."""
FED: Final = b"F"
FEED_END: Final = b"E"
TRAILER: Final = b"T"
DONE: Final = b"O"
FAILED: Final = b"X"
"""JSON: kind, text and, where it is nobody's plan, the traceback."""


class Channel:
    """The worker process's end. Blocking."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._file = self._socket.makefile("rb")

    def send(self, kind: bytes, data: bytes = b"") -> None:
        """Send a frame."""
        self._socket.sendall(HEADER.pack(kind, len(data)) + data)

    def begin(self, kind: bytes, data: bytes) -> bytes:
        """Send of a frame what fits without waiting; what is left is for ``finish``."""
        frame = HEADER.pack(kind, len(data)) + data
        try:
            return frame[self._socket.send(frame, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return frame

    def finish(self, rest: bytes) -> None:
        """Send the rest of a frame, waiting while the daemon is behind."""
        self._socket.sendall(rest)

    def wait_for_hang_up(self) -> None:
        """Return once the daemon has hung up or is gone."""
        self._hang_up(None)

    def hung_up(self) -> bool:
        """Whether the daemon has hung up or is gone."""
        return self._hang_up(0)

    def _hang_up(self, patience_ms: int | None) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLHUP)
        return bool(poll.poll(patience_ms))

    def receive(self) -> tuple[bytes, bytes]:
        """Return the next frame; EOFError where the daemon has hung up."""
        kind, size = HEADER.unpack(self._exactly(HEADER.size))
        return kind, self._exactly(size)

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError
        return data
