"""Keeps a backlog of due rows from slowing down the jobs that come in meanwhile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.ports import JobQueue

_KEPT_SHARE: Final = 4


class Pace:
    """Keeps some slots of each channel from waiting for the database.

    A row takes its slot twice to a commit: when its run begins and when it ends. With a backlog of short jobs all slots
    would stand there all the time, and an immediate job would wait for a commit before it starts. So no due row is
    handed out while three of four slots are writing. How many rows run at once is not bounded by this.

    Args:
        queue: hands out due rows, or lets them rest.
        channels: open channels with their slots.
    """

    def __init__(self, queue: JobQueue, channels: Mapping[str, int]) -> None:
        self._queue = queue
        self._channels = channels
        self._writing: Counter[str] = Counter()

    @contextmanager
    def paperwork(self, job: Job) -> Iterator[None]:
        """Hold the slot of ``job`` while something is written about its row."""
        channel = job.channel
        self._writing[channel] += 1
        if self._writing[channel] >= self._most(channel):
            self._queue.rest_due(channel)
        try:
            yield
        finally:
            self._writing[channel] -= 1
            if self._writing[channel] < self._most(channel):
                self._queue.resume_due(channel)

    def _most(self, channel: str) -> int:
        slots = self._channels.get(channel, 1)
        return max(1, slots - max(1, slots // _KEPT_SHARE))
