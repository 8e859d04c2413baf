"""What child processes leave behind in the process that started them."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any

import anyio


def has_children() -> bool:
    """Whether this process has any child, be it dead and unreaped."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


async def leaves_nothing(once: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do something two hundred times, ten at once: neither descriptors nor children may remain."""
    await once()
    before = set(os.listdir("/proc/self/fd"))
    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(once)
    assert set(os.listdir("/proc/self/fd")) == before
    assert not has_children()
