"""Ends what this process has started, where there is no time left for asking."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from jobworkerp_standalone.runners.guard.guard import guard_processes


def kill_descendants() -> None:
    """Kill every process that this one has started, directly or not.

    Its guards are left, as they end with it.
    """
    guards = guard_processes()
    found = [pid for pid in _descendants(os.getpid()) if pid not in guards]
    for pid in found:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> Iterator[int]:
    for thread in _threads(pid):
        with suppress(OSError):
            for child in (thread / "children").read_text().split():
                yield int(child)
                yield from _descendants(int(child))


def _threads(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []
