"""Which process a container belongs to, so that one that was left behind can be told from one in use."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

OWNER_LABEL: Final = "jobworkerp.owner"
JOB_LABEL: Final = "jobworkerp.job"
_START_TIME: Final = 19
"""Field of /proc/PID/stat, counted after the name."""


def this_process() -> str:
    """Return a mark of this process that no other one ever has: host, boot, pid and start."""
    return " ".join((socket.gethostname(), _boot(), str(os.getpid()), _start(os.getpid()) or "?"))


def is_gone(mark: str) -> bool:
    """Whether the process of ``mark`` ran on this host and does not any more."""
    host, boot, pid, start = mark.split(" ") if mark.count(" ") == 3 else ("", "", "", "")  # noqa: PLR2004 - its parts
    if host != socket.gethostname() or not pid.isdecimal():
        return False
    return boot != _boot() or _start(int(pid)) != start


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def _start(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[_START_TIME]
