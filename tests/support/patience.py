"""How long tests wait. A busy machine makes everything slow, so no test goes by the clock of a quiet one.

What must come is waited for so long that only a hang is ended. What must have begun before a short time limit is over
is tried with longer and longer limits. Whether somebody keeps the loop waiting is told by processor time, which other
programs do not add to.
"""

from __future__ import annotations

import gc
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio

PATIENCE_SEC = 60.0
"""For whatever comes at once on a machine that has time."""
_TIMES = 5


def longer_and_longer(first_ms: int) -> Iterator[int]:
    """Yield time limits: the first is enough on a quiet machine, the last on any.

    For a test of what happens when the time is over *after* something has begun: it goes on to the next limit until
    it had begun.
    """
    limit_ms = first_ms
    while limit_ms < PATIENCE_SEC * 1000:
        yield limit_ms
        limit_ms *= _TIMES
    raise AssertionError(f"it had not begun within {limit_ms // _TIMES} ms")


@dataclass
class Turns:
    """How the loop's turns went."""

    longest_sec: float = 0.0
    """Processor time of this process between two turns of a task that wants every one."""


@asynccontextmanager
async def turns() -> AsyncIterator[Turns]:
    """Look how long others keep the loop waiting, by the processor time of this process, threads included.

    Garbage is collected before: that a process full of tests takes long for it says nothing of the program.
    """
    seen = Turns()

    async def look() -> None:
        last = time.process_time()
        while True:
            await anyio.sleep(0.005)
            now = time.process_time()
            seen.longest_sec, last = max(seen.longest_sec, now - last), now

    gc.collect()
    gc.disable()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look)
            yield seen
            tasks.cancel_scope.cancel()
    finally:
        gc.enable()
