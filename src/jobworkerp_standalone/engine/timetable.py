"""Has schedules that wait follow their worker when its times change."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import Worker
from jobworkerp_standalone.jobs.periods import retimed_ms
from jobworkerp_standalone.ports import Clock, JobStore

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timetable:
    """The rows of schedules.

    Those that a process holds (running, retried, or due within its fetch interval) follow when that run has ended.
    """

    store: JobStore
    poller: Poller
    clock: Clock

    async def follow(self, old: Worker, new: Worker) -> None:
        """Move the waiting runs of a worker that changed from ``old`` to ``new``."""
        try:
            await self._move(old, new)
        except StorageError as error:
            _log.warning(
                "schedules of worker %r wait for the times that it had, and follow it after that: %s", new.name, error
            )

    async def _move(self, old: Worker, new: Worker) -> None:
        if not (old.recurring and new.recurring):
            return
        now_ms = self.clock.now_ms()
        waiting = [job for job in await self.store.of_worker(new.id) if job.recurring and not job.retried]
        moves = [(job, due_ms) for job in waiting if (due_ms := retimed_ms(old, new, job, now_ms)) != job.run_after_ms]
        if moves:
            await self.store.retime(moves)
            self.poller.nudge(min(due_ms for _, due_ms in moves))
