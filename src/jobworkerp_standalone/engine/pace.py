"""Keeps a backlog of due rows from slowing down the jobs that come in meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from jobworkerp_standalone.jobs.model import Job

_ACTIVE_SEC: Final = 0.1
_AT_ONCE: Final = 2


class Pace:
    """Bounds how many due rows are being begun or ended at once while immediate jobs come in; not how many run.

    Every row that is begun or ended puts its steps into the loop, and an immediate job waits for all of them at each of
    its own. Fewer at once make those waits short, and cost little, as the database takes one commit at a time.
    """

    def __init__(self) -> None:
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._last_immediate = -_ACTIVE_SEC

    def begins(self, job: Job) -> None:
        """Take note of a job that takes a slot."""
        if not job.run_after_ms:
            self._last_immediate = time.monotonic()

    @asynccontextmanager
    async def paperwork(self, job: Job) -> AsyncIterator[None]:
        """Begin or end a job, after others where there are too many."""
        if not job.run_after_ms or time.monotonic() - self._last_immediate > _ACTIVE_SEC:
            yield
            return
        async with self._gate:
            yield
