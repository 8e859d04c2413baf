"""What runner kinds do for their workers beside jobs, such as starting them when an event comes."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field

import anyio
from anyio.abc import TaskGroup

from jobworkerp_standalone.engine.catalog import Entry
from jobworkerp_standalone.engine.intake import Intake
from jobworkerp_standalone.jobs.model import NewJob, Overrides, ResponseType
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.spec import Standing

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    ready: anyio.Event = field(default_factory=anyio.Event)
    """Set as soon as nothing is missed any more, or nothing is done."""


class Standings:
    """Keeps one task for each worker whose runner kind has something to do for it (``RunnerSpec.standing``).

    Args:
        host: what the kinds work with.
        tasks: where the tasks live.
        intake: takes the jobs that they start.
    """

    def __init__(self, host: Host, tasks: TaskGroup, intake: Intake) -> None:
        self._host = host
        self._tasks = tasks
        self._intake = intake
        self._kept: dict[int, _Kept] = {}
        self._stopped = False

    def entered(self, entry: Entry) -> None:
        """A worker has come, or another definition of one."""
        self.dropped(entry.worker.id)
        standing = entry.spec.standing if entry.spec is not None else None
        if standing is None or self._stopped or not standing.wanted(entry.worker):
            return
        kept = self._kept[entry.worker.id] = _Kept()
        self._tasks.start_soon(self._keep, entry, standing, kept)

    def dropped(self, worker_id: int) -> None:
        """A definition is gone, or another one takes its place."""
        kept = self._kept.pop(worker_id, None)
        if kept is not None:
            kept.scope.cancel()
            kept.ready.set()

    async def settled(self) -> None:
        """Wait until nothing is missed of what comes from now on."""
        for kept in list(self._kept.values()):
            await kept.ready.wait()

    def stop(self) -> None:
        """Start nothing more."""
        self._stopped = True
        for worker_id in list(self._kept):
            self.dropped(worker_id)

    async def _keep(self, entry: Entry, standing: Standing, kept: _Kept) -> None:
        worker = entry.worker

        async def start(args: bytes) -> int:
            answer = Overrides(response_type=ResponseType.NO_RESULT)
            accepted = await self._intake.submit(NewJob(worker.id, args, using="run", overrides=answer))
            return accepted.job.id

        with kept.scope:
            try:
                await standing.run(self._host, worker, start, kept.ready.set)
            except Exception:
                _log.exception("worker %r is not started by itself any more", worker.name)
            finally:
                kept.ready.set()
