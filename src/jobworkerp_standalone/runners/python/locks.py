"""Locks on files: held by an open descriptor, gone with the process however it ends. All of this blocks briefly."""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from pathlib import Path

MODE = 0o600


def try_lock(path: Path, *, shared: bool = False, create: bool = True) -> int | None:
    """Return a descriptor that holds the lock on ``path``; None if others hold it, or there is no such file.

    Whoever locks a file and removes it has removed the lock as well: it is not given to those who had it open.
    """
    while True:
        try:
            fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0), MODE)
        except FileNotFoundError:
            if create:
                raise
            return None
        try:
            fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        except BaseException:
            os.close(fd)
            raise
        if os.fstat(fd).st_nlink:
            return fd
        os.close(fd)


def unlock_and_remove(path: Path, fd: int) -> None:
    """Give a lock up together with its file."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    os.close(fd)
