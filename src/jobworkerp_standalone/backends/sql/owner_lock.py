"""One small locked file for each living process on a database.

A lock dies with its process, so death is seen at once.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from jobworkerp_standalone.jobs.errors import StorageError

SLOTS: Final = 1024
"""As many processes may share one database; a slot is also the node number inside ids."""
_OPEN: Final = os.O_RDWR | os.O_CLOEXEC
_MODE: Final = 0o644


class OwnerLock:
    """A held slot. The lock belongs to this object, not to the process: two in one process exclude each other.

    All functions here touch the file system and belong into a thread.
    """

    def __init__(self, database: str, slot: int, descriptor: int) -> None:
        self.database = database
        self.slot = slot
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, database: str) -> OwnerLock:
        """Take the smallest free slot of a database; files that dead processes left behind are used again.

        Raises:
            StorageError: the lock file cannot be made, or every slot is taken.
        """
        for slot in range(SLOTS):
            descriptor = _lock(_path(database, slot))
            if descriptor is not None:
                return cls(database, slot, descriptor)
        raise StorageError(f"database {database} is in use by {SLOTS} processes, which is the limit; stop one of them")

    def release(self) -> None:
        """Give the slot back and remove its file."""
        with suppress(FileNotFoundError):
            os.unlink(_path(self.database, self.slot))
        os.close(self._descriptor)


def free_slots(database: str, slots: Iterable[int]) -> set[int]:
    """Return those of ``slots`` that no living process holds."""
    return {slot for slot in slots if not _is_held(_path(database, slot))}


def _path(database: str, slot: int) -> str:
    return f"{database}.owner-{slot}.lock"


def _lock(path: str) -> int | None:
    """Return a descriptor that holds the lock of the file which is at ``path`` now; None where another has it."""
    while True:
        try:
            descriptor = os.open(path, _OPEN | os.O_CREAT, _MODE)
        except OSError as error:
            raise StorageError(
                f"lock file {path} cannot be made ({error.strerror}); "
                "check that the directory of SQLITE_URL exists and can be written to"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        if _is_at(path, descriptor):
            return descriptor
        os.close(descriptor)  # its last holder removed the file between our open and our lock


def _is_held(path: str) -> bool:
    try:
        descriptor = os.open(path, _OPEN)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _is_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
