"""The program of the guard: it hears which sessions of programs are there, and ends them when nobody is at the pipe.

It imports as little as it can, so that it is there within milliseconds and needs a few megabytes.
"""

from __future__ import annotations

import os
import signal
import struct
import time
from typing import Final

from jobworkerp_standalone.runners.guard.sessions import alive, kill_session, sessions_at, signal_group

MESSAGE: Final = struct.Struct("=II")
"""What has happened, and with what."""
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


def main() -> None:
    """Wait for the end of the other process, and end what it has left."""
    os.chdir("/")
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # whoever ends everything gently has the daemon stop its programs itself
    _end(_left())


def _left() -> set[int]:
    """Listen until the pipe ends; return the leaders that have not ended."""
    leaders: set[int] = set()
    begun = 0
    while data := os.read(_PIPE, _PIECE):
        for kind, number in MESSAGE.iter_unpack(data):
            if kind == BEGINS:
                begun = number
            elif kind == STARTED:
                leaders.add(number)
                begun = 0
            else:
                leaders.discard(number)
        time.sleep(_PAUSE_SEC)
    return leaders | sessions_at(begun) if begun else leaders


def _end(leaders: set[int]) -> None:
    for leader in leaders:
        signal_group(leader, signal.SIGTERM)
        signal_group(leader, signal.SIGCONT)
    until = time.monotonic() + _GRACE_SEC
    while leaders:
        patient = time.monotonic() < until
        for leader in [each for each in leaders if not (patient and alive(each))]:
            signal_group(leader, signal.SIGKILL)
            kill_session(leader)
            leaders.discard(leader)
        time.sleep(_LOOK_SEC)
