"""Ending a session of processes, whatever its members ignore."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final

_ROUNDS: Final = 10
_DEATH_MS: Final = 500
"""How long one round waits for the next of what it killed."""
_TICKS_PER_SEC: Final = os.sysconf("SC_CLK_TCK")
_STATE: Final = 0
_STARTED: Final = 19
"""Where they are in /proc/PID/stat, after the name."""


def signal_group(leader: int, number: int) -> None:
    """Signal every process in the group of ``leader``, which must not have been reaped yet."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, number)


def ticks() -> int:
    """Return the time since boot as the kernel counts when a process was started."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS_PER_SEC)


def is_from(leader: int, told: int) -> bool:
    """Whether a session told at some tick is what its number means now.

    Nobody gets the number while a member of the session is there, or while its leader is not reaped. So it is somebody
    else's only if a process has it that was started later.
    """
    stat = _stat(leader)
    return stat is None or int(stat[_STARTED]) <= told


def state_of(pid: int) -> bytes | None:
    """Return the letter of the kernel for what a process does; None if it is not there."""
    stat = _stat(pid)
    return None if stat is None else stat[_STATE]


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
    except OSError:
        return False
    return state_of(pid) not in (None, b"Z", b"X")


def _stat(pid: int) -> list[bytes] | None:
    """Return what the kernel says of a process after its name; None if it is not there."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()
    except OSError:
        return None
