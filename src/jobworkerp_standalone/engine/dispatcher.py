"""Gives waiting jobs to free slots: capacity first, a job second."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from anyio.abc import TaskGroup

from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.ports import JobQueue


class Dispatcher:
    """The slots of all channels of this process. Each slot is a task that takes a job, runs it, takes the next.

    Args:
        queue: where jobs wait.
        execute: runs one job to its end, and does not fail.
        tasks: the group in which slots live.
    """

    def __init__(self, queue: JobQueue, execute: Callable[[Job], Awaitable[None]], tasks: TaskGroup) -> None:
        self._queue = queue
        self._execute = execute
        self._tasks = tasks
        self._serving = 0
        self._idle = asyncio.Event()

    def open(self, channel: str, slots: int) -> None:
        """Open a channel with its slots. They end when the queue is closed and their job is done."""
        self._serving += slots
        for _ in range(slots):
            self._tasks.start_soon(self._serve, channel)

    async def drained(self) -> None:
        """Wait until every slot has ended, after the queue was closed."""
        while self._serving:
            await self._idle.wait()

    async def _serve(self, channel: str) -> None:
        try:
            await self._take_and_run(channel)
        finally:
            self._serving -= 1
            if not self._serving:
                self._idle.set()

    async def _take_and_run(self, channel: str) -> None:
        while (job := await self._queue.take(channel)) is not None:
            await self._execute(job)
