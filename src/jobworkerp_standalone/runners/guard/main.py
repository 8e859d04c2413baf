"""The program of the guard: it hears which sessions of programs are there, and ends them when nobody is at the pipe.

It imports as little as it can, so that it is there within milliseconds and needs a few megabytes.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import Final

from jobworkerp_standalone.runners.guard.sessions import alive, is_from, kill_session, sessions_at, signal_group, ticks

MESSAGE: Final = struct.Struct("=IIQ")
"""What has happened, with what, and for a program that was started when that was, in ticks."""
BEGINS: Final = 0
"""A program is about to be started; with the number of the pipe that is its standard output."""
STARTED: Final = 1
"""It was; with the leader of its session."""
ENDED: Final = 2
"""With the leader of its session."""
_PIPE: Final = 0
_PIECE: Final = 65_536
_PAUSE_SEC: Final = 0.05
"""Between two readings: nothing but the end is urgent, and to be woken for each program would cost processor time."""
_GRACE_SEC: Final = 2.0
"""Between SIGTERM and SIGKILL: about what a daemon takes to come back and run a job again."""
_LOOK_SEC: Final = 0.02
"""Between two looks whether what is being ended has ended, or whether a late program is there."""
_SHORT_SEC: Final = 0.001
"""Between two looks whether the daemon is gone: its programs live until then."""
_DYING_SEC: Final = 0.5
"""How long the pipe may end before its process does."""
_LATE_SEC: Final = 0.5
"""How long a program that was about to be started may take to have its standard output."""


def main() -> None:
    """Wait for the end of the other process, and end what it has left."""
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # whoever ends everything gently has the daemon stop its programs itself
    daemon = os.getppid()
    leaders, begun = _left()
    if leaders or begun:
        _outlive(daemon)
    if begun:
        leaders |= dict.fromkeys(sessions_at(begun), ticks())
    _end(leaders)
    if begun:
        _end_late(begun)


def _left() -> tuple[dict[int, int], int]:
    """Listen until the pipe ends.

    Returns:
        The leaders that have not ended, with the ticks when they were told; the standard output of the program of
        which only the beginning was told, or 0.
    """
    leaders: dict[int, int] = {}
    begun = 0
    while data := os.read(_PIPE, _PIECE):
        for kind, number, told in MESSAGE.iter_unpack(data):
            if kind == BEGINS:
                begun = number
            elif kind == STARTED:
                leaders[number] = told
                begun = 0
            else:
                leaders.pop(number, None)
        time.sleep(_PAUSE_SEC)
    return leaders, begun


def _outlive(daemon: int) -> None:
    """Wait until the daemon is gone: a process that dies closes its descriptors one after the other.

    Programs that end when theirs does are not broken off in that before they can know.
    """
    until = time.monotonic() + _DYING_SEC
    while os.getppid() == daemon and time.monotonic() < until:
        time.sleep(_SHORT_SEC)


def _end_late(pipe: int) -> None:
    """End the program with this standard output, which the dead process may have left on its way there."""
    until = time.monotonic() + _LATE_SEC
    while time.monotonic() < until:
        found = sessions_at(pipe)
        _end(dict.fromkeys(found, ticks()))
        time.sleep(_LOOK_SEC)


def _end(told: dict[int, int]) -> None:
    """End sessions, and touch nothing that has got the number of one that was over before."""
    leaders = {leader for leader in told if is_from(leader, told[leader])}
    for leader in leaders:
        signal_group(leader, signal.SIGTERM)
        signal_group(leader, signal.SIGCONT)
    until = time.monotonic() + _GRACE_SEC
    while leaders:
        patient = time.monotonic() < until
        for leader in [each for each in leaders if not (patient and alive(each))]:
            if is_from(leader, told[leader]):
                signal_group(leader, signal.SIGKILL)
                kill_session(leader)
            leaders.discard(leader)
        time.sleep(_LOOK_SEC)
