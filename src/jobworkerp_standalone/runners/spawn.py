"""How programs are started: by posix_spawn, each as the leader of a session of its own.

posix_spawn shares the memory of this process until the program is loaded: no copy of page tables, however large it is.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Any, Final

from jobworkerp_standalone.jobs.errors import SettingsError

Action = tuple[Any, ...]
"""What the child does with a descriptor before it becomes the program, as `os.posix_spawn` knows it."""
_STANDARD: Final = range(3)
_HIGHEST_INHERITED: Final = 1024
_SIGNALS: Final = frozenset(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})


def keep_exit_codes() -> None:
    """Have ends of programs wait to be read: whoever started this process may have left it SIGCHLD as ignored.

    Raises:
        SettingsError: it is ignored, and only the main thread can change that.
    """
    if signal.getsignal(signal.SIGCHLD) is not signal.SIG_IGN:
        return
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    except ValueError as error:
        raise SettingsError(
            "this process ignores SIGCHLD, so nobody can tell how programs end: "
            "call signal.signal(signal.SIGCHLD, signal.SIG_DFL) in its main thread first"
        ) from error


def spawn(
    argv: tuple[bytes, ...], environment: Mapping[bytes, bytes], actions: Sequence[Action], file: bytes = b""
) -> tuple[int, int]:
    """Start a program, with signals as they are by default.

    Args:
        argv: its arguments, its name first.
        environment: all of it.
        actions: what becomes of the descriptors that are not closed on exec.
        file: where it is; empty: where the name says, or this process's own PATH.

    Returns:
        Its process id, which is its session's too, and a pidfd.

    Raises:
        OSError: it cannot be started.
        ValueError: no process can have such arguments or such an environment.
    """
    file = file or argv[0]
    start = os.posix_spawn if b"/" in file else os.posix_spawnp
    pid = start(file, argv, environment, file_actions=actions, setsid=True, setsigmask=(), setsigdef=_SIGNALS)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


@cache
def inherited_descriptors() -> tuple[Action, ...]:
    """Have the child close what this process was started with; what Python opens closes itself on exec.

    Where this process was started with one of its own first three closed, it is opened here, so that no pipe gets
    its number.
    """
    while (spare := os.open("/dev/null", os.O_RDWR)) in _STANDARD:
        pass
    os.close(spare)
    found: list[int] = []
    for fd in range(len(_STANDARD), _HIGHEST_INHERITED):
        with suppress(OSError):
            if os.get_inheritable(fd):
                found.append(fd)
    return tuple((os.POSIX_SPAWN_CLOSE, fd) for fd in found)
