"""The peak memory of a child and its descendants, by looking at /proc.

The kernel's own figure at the exit (``ru_maxrss``) starts at the peak of the process that started the child, which
here is a daemon of some size: it is exact only where it is larger than that. So the child is looked at as soon as it
is started, then at growing distances, and each look finds the exact peak up to then (``VmHWM``).
"""

from __future__ import annotations

import asyncio
import os
import re
import resource
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from jobworkerp_standalone.runners.process.child import Exit

_FIRST_SEC: Final = 0.002
_INTERVAL_SEC: Final = 0.1
_GROWTH: Final = 1.25
_PAGE_KB: Final = os.sysconf("SC_PAGE_SIZE") // 1024
_FIELDS: Final = re.compile(rb"^(VmHWM|VmRSS):\s*(\d+) kB", re.MULTILINE)


class MemoryWatch:
    """Samples a process tree from its start until `close`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._loop = asyncio.get_running_loop()
        self._pause = _FIRST_SEC
        self._open = True
        self._peak_kb = _peak_and_now(pid)[0]
        self._timer = self._loop.call_later(self._pause, self._look)

    def close(self) -> None:
        """Look no more."""
        self._open = False
        self._timer.cancel()

    def peak_kb(self, end: Exit) -> int:
        """Return the largest size seen; for a child that was gone before the first look, what its page faults say."""
        if end.max_rss_kb > resource.getrusage(resource.RUSAGE_SELF).ru_maxrss:
            return max(end.max_rss_kb, self._peak_kb)
        return self._peak_kb or min(end.max_rss_kb, end.page_faults * _PAGE_KB)

    def _look(self) -> None:
        self._loop.run_in_executor(None, tree_kb, self._pid).add_done_callback(self._seen)

    def _seen(self, look: asyncio.Future[int]) -> None:
        if look.cancelled() or look.exception() or not self._open:
            return
        self._peak_kb = max(self._peak_kb, look.result())
        self._pause = min(self._pause * _GROWTH, _INTERVAL_SEC)
        self._timer = self._loop.call_later(self._pause, self._look)


def tree_kb(pid: int) -> int:
    """Return what a process and its descendants hold now, or the peak of one of them if that is more."""
    peak = together = 0
    for member in _tree(pid):
        highest, now = _peak_and_now(member)
        peak = max(peak, highest)
        together += now
    return max(peak, together)


def _tree(pid: int) -> Iterator[int]:
    pending = [pid]
    while pending:
        member = pending.pop()
        yield member
        with suppress(OSError):
            for thread in os.listdir(f"/proc/{member}/task"):
                pending.extend(map(int, _content(f"/proc/{member}/task/{thread}/children").split()))


def _peak_and_now(pid: int) -> tuple[int, int]:
    found = {name: int(kb) for name, kb in _FIELDS.findall(_content(f"/proc/{pid}/status"))}
    return found.get(b"VmHWM", 0), found.get(b"VmRSS", 0)


def _content(path: str) -> bytes:
    """Read a file of /proc; empty if it is gone."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        return os.read(fd, 65_536)
    except OSError:
        return b""
    finally:
        os.close(fd)
