"""Keeps this process alive in the eyes of others, and the house clean: leases, dead owners, what others changed."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import anyio

from jobworkerp_standalone.engine.catalog import Catalog
from jobworkerp_standalone.engine.journals import Journals
from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.engine.waiting import Waiting
from jobworkerp_standalone.jobs.errors import StorageError
from jobworkerp_standalone.jobs.model import JobStatus
from jobworkerp_standalone.ports import Clock, JobQueue, Store

_log = logging.getLogger(__name__)
_SWEEP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class KeeperParts:
    """What the keeper looks after."""

    store: Store
    catalog: Catalog
    waiting: Waiting
    live: LiveJobs
    queue: JobQueue
    poller: Poller
    journals: Journals
    clock: Clock


class Keeper:
    """Periodic duties.

    Args:
        parts: what it looks after.
        instance_id: this process as an owner of rows.
        lease_ms: how long a lease lives without renewal; it is renewed at half of that.
    """

    def __init__(self, parts: KeeperParts, instance_id: int, lease_ms: int) -> None:
        self._parts = parts
        self._instance_id = instance_id
        self._lease_ms = lease_ms

    async def run(self) -> None:
        """Work until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._renew)
            tasks.start_soon(self._sweep)

    async def _renew(self) -> None:
        parts = self._parts
        while True:
            await parts.clock.sleep(self._lease_ms / 2000)
            try:
                alive = await parts.store.heartbeat(self._instance_id, parts.clock.now_ms(), self._lease_ms)
            except StorageError as error:
                _log.warning("renewing the leases failed, trying again: %s", error)
                continue
            if not alive:
                _log.error("others took this process for dead: stored jobs that wait here are free for everybody")
                self._let_go()

    def _let_go(self) -> None:
        """Forget the waiting jobs whose rows were freed. Those that run find out when they end."""
        parts = self._parts
        for live in parts.live.all():
            if live.job.stored and live.status is JobStatus.PENDING:
                parts.queue.remove(live.job)
                parts.poller.drop(live.job)
                parts.live.remove(live.job, free_key=False)
        parts.poller.nudge(0)

    async def _sweep(self) -> None:
        parts = self._parts
        while True:
            await parts.clock.sleep(_SWEEP_SECONDS)
            parts.waiting.expire()
            parts.journals.events.expire()
            try:
                if await parts.store.reclaim_dead_owners():
                    parts.poller.nudge(0)
                await parts.catalog.refresh()
                await parts.journals.expire()
            except StorageError as error:
                _log.warning("looking for dead owners and changed workers failed, trying again: %s", error)
