"""Ending a session of processes, whatever its members ignore."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

_ROUNDS: Final = 10
_DEATH_MS: Final = 500
"""How long one round waits for the next of what it killed."""


def signal_group(leader: int, number: int) -> None:
    """Signal every process in the group of ``leader``, which must not have been reaped yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def alive(leader: int) -> bool:
    """Whether the leader of a session runs."""
    return _in_session(leader, leader)


def sessions_at(pipe: int) -> set[int]:
    """Return the sessions of the processes that have a pipe, by its number, as their standard output."""
    found: set[int] = set()
    for pid in _pids():
        with suppress(OSError):
            if os.readlink(f"/proc/{pid}/fd/1") == f"pipe:[{pipe}]":
                found.add(os.getsid(pid))
    return found


def kill_session(leader: int) -> None:
    """SIGKILL what is left of the session of ``leader``, also in other process groups, and see it die.

    Blocks: call it in a thread, and before ``leader`` is reaped, so that its number cannot be somebody else's. A
    process that moved to a session of its own has left for good and is not touched.
    """
    for _ in range(_ROUNDS):
        with _members(leader) as pidfds:
            if not pidfds:
                return
            for pidfd in pidfds:
                with suppress(ProcessLookupError, PermissionError):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            _await_death(pidfds)


def _await_death(pidfds: list[int]) -> None:
    dying = select.poll()
    for pidfd in pidfds:
        dying.register(pidfd, select.POLLIN)
    left = len(pidfds)
    while left and (dead := dying.poll(_DEATH_MS)):
        for pidfd, _event in dead:
            dying.unregister(pidfd)
        left -= len(dead)


@contextmanager
def _members(leader: int) -> Generator[list[int]]:
    """Hold the living members of a session by pidfd, so that a number used again is never hit."""
    pidfds: list[int] = []
    try:
        for pid in _pids():
            if pid != leader and _in_session(pid, leader):
                with suppress(OSError):
                    pidfds.append(os.pidfd_open(pid))
                    if not _in_session(pid, leader):
                        os.close(pidfds.pop())
        yield pidfds
    finally:
        for pidfd in pidfds:
            os.close(pidfd)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _in_session(pid: int, leader: int) -> bool:
    """Whether a process is alive and in the session of ``leader``."""
    try:
        if os.getsid(pid) != leader:
            return False
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
