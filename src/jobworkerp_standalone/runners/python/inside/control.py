"""The connection to the daemon (`interpreter` is the other end), and the standard descriptors."""

from __future__ import annotations

import array
import fcntl
import json
import os
import socket
import struct
from typing import Any

_CONTROL = 3
_PRIVATE_FROM = 200
_HEADER = struct.Struct("!III")
_WORD = struct.Struct("!ci")
_CHUNK = 1 << 20


class Control:
    """The connection to the daemon. It keeps a number that scripts are unlikely to meet."""

    def __init__(self) -> None:
        try:
            private = fcntl.fcntl(_CONTROL, fcntl.F_DUPFD_CLOEXEC, _PRIVATE_FROM)
        except OSError:  # so many files may not be open
            private = fcntl.fcntl(_CONTROL, fcntl.F_DUPFD_CLOEXEC, _CONTROL + 1)
        os.close(_CONTROL)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=private)
        self._inode = os.fstat(private).st_ino

    @property
    def intact(self) -> bool:
        """Whether no script closed it; False, or an OSError."""
        return os.fstat(self._socket.fileno()).st_ino == self._inode

    def send(self, kind: bytes, number: int = 0) -> None:
        """Tell the daemon."""
        self._socket.sendall(_WORD.pack(kind, number))

    def order(self) -> tuple[dict[str, Any], bytes, bytes, list[int]] | None:
        """Wait for a script: what is asked, script, data, and the two outputs; None at the end."""
        fds = array.array("i")
        room = socket.CMSG_LEN(2 * fds.itemsize)
        head, ancillary, _flags, _address = self._socket.recvmsg(_HEADER.size, room)
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if not head:
            return None
        head += self._exactly(_HEADER.size - len(head))
        asked, script, data = (self._exactly(size) for size in _HEADER.unpack(head))
        return json.loads(asked), script, data, list(fds)

    def _exactly(self, size: int) -> bytes:
        taken = bytearray()
        while len(taken) < size:
            piece = self._socket.recv(min(size - len(taken), _CHUNK))
            if not piece:
                raise EOFError("the daemon is gone")
            taken += piece
        return bytes(taken)


def set_outputs(out: int, err: int) -> None:
    """Make these standard output and error, and nothing else."""
    for number, fd in ((1, out), (2, err)):
        os.dup2(fd, number)
    os.close(out)
    os.close(err)


def close_outputs() -> None:
    """Hold no output open; the standard input is empty."""
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    if null > 2:  # noqa: PLR2004 - the last of the standard descriptors
        os.close(null)
