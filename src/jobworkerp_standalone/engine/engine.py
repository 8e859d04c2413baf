"""The engine as one running thing: its parts, its start, its stop."""

from __future__ import annotations

import logging
import socket
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final

import anyio
from anyio.abc import TaskGroup

from jobworkerp_standalone.engine.catalog import Catalog, CatalogRules, SettingsFault
from jobworkerp_standalone.engine.chain import Chain
from jobworkerp_standalone.engine.channels import ChannelOpener
from jobworkerp_standalone.engine.completer import Completer, CompleterParts
from jobworkerp_standalone.engine.dispatcher import Dispatcher
from jobworkerp_standalone.engine.events import EventLogs
from jobworkerp_standalone.engine.executor import Executor, ExecutorLimits, ExecutorParts
from jobworkerp_standalone.engine.feeds import Feeds
from jobworkerp_standalone.engine.intake import Intake, IntakeParts
from jobworkerp_standalone.engine.job_journal import JournalParts
from jobworkerp_standalone.engine.journals import Journals
from jobworkerp_standalone.engine.keeper import Keeper, KeeperParts
from jobworkerp_standalone.engine.live import LiveJobs
from jobworkerp_standalone.engine.note_taker import NoteTakerParts, NoteTakers
from jobworkerp_standalone.engine.owned import OwnedTasks
from jobworkerp_standalone.engine.pace import Pace
from jobworkerp_standalone.engine.parents import ParentParts, Parents
from jobworkerp_standalone.engine.poller import Poller
from jobworkerp_standalone.engine.registry import RegistryParts, RunnerRegistry
from jobworkerp_standalone.engine.standing import Standings
from jobworkerp_standalone.engine.timetable import Timetable
from jobworkerp_standalone.engine.waiting import STOPPING, Waiting
from jobworkerp_standalone.jobs.errors import AlreadyExists, StorageError, Unavailable
from jobworkerp_standalone.jobs.ids import IdGenerator
from jobworkerp_standalone.jobs.model import Job
from jobworkerp_standalone.ports import Clock, Instance, JobQueue, Store
from jobworkerp_standalone.runners.bus import EventBus, Room
from jobworkerp_standalone.runners.host import Host
from jobworkerp_standalone.runners.origin import OriginKind
from jobworkerp_standalone.runners.pool import RunnerPool
from jobworkerp_standalone.runners.spec import RunnerSpec
from jobworkerp_standalone.settings import Settings

_log = logging.getLogger(__name__)
_CHUNK: Final = 500
_LAST_SEC: Final = 15.0
"""How long cancelled jobs may take to let go: a command gets 5 s between its two signals."""


@dataclass(frozen=True, slots=True)
class Engine:
    """What the edge needs of the engine."""

    settings: Settings
    clock: Clock
    store: Store
    queue: JobQueue
    catalog: Catalog
    registry: RunnerRegistry
    live: LiveJobs
    waiting: Waiting
    pool: RunnerPool
    poller: Poller
    intake: Intake
    completer: Completer
    dispatcher: Dispatcher
    channels: ChannelOpener
    parents: Parents
    journals: Journals
    standings: Standings
    new_id: IdGenerator
    polling: anyio.CancelScope = field(default_factory=anyio.CancelScope)

    @property
    def bus(self) -> EventBus:
        """The events that workflows emit and listen for."""
        return self.pool.host.shared(EventBus)

    async def stop(self, grace_seconds: float, hurry: anyio.Event | None = None) -> None:
        """Stop in order: no new work, put the waiting down, let the running finish, cancel the rest.

        Args:
            grace_seconds: how long running jobs may go on.
            hurry: ends the grace at once when set.
        """
        self.standings.stop()
        self.intake.close()
        self.polling.cancel()
        await self._put_down(self.parents.put_down(self.queue.close(), self.poller.close(self.parents.too_late)))
        await self._grace(grace_seconds, hurry or anyio.Event())
        self.completer.closing = self.bus.closed = True
        for live in self.live.all():
            if live.awaited:
                continue  # its parent ends it
            live.stopping = True
            if live.scope is not None:
                live.scope.cancel()
        with anyio.move_on_after(_LAST_SEC) as patience:
            await self.dispatcher.drained()
        if patience.cancelled_caught:
            stuck = [live.job.id for live in self.live.all() if live.scope is not None]
            _log.error("jobs %s do not end although they were cancelled; not waiting for them any longer", stuck)
        await self._put_down([*self.queue.close(), *self.poller.close()])
        self.waiting.stop()
        self.journals.events.stop()
        await self.pool.aclose()

    async def _grace(self, seconds: float, hurry: anyio.Event) -> None:
        async def end_at_signal(scope: anyio.CancelScope) -> None:
            await hurry.wait()
            scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.cancel_scope.deadline = anyio.current_time() + seconds
            tasks.start_soon(end_at_signal, tasks.cancel_scope)
            await self.dispatcher.drained()
            tasks.cancel_scope.cancel()

    async def _put_down(self, waiting: Sequence[Job]) -> None:
        """Answer or write down every job that did not start."""
        for job in waiting:
            self.live.remove(job, free_key=False)
            if job.rules.direct:
                self.waiting.refuse(job.id, Unavailable(STOPPING))
        durable = [job for job in waiting if job.stored]
        volatile = [replace(job, stored=True) for job in waiting if not (job.stored or job.rules.direct)]
        try:
            await self.store.release(durable)
        except StorageError as error:
            _log.warning("%d stored jobs were not given back (%s); their leases run out", len(durable), error)
        for start in range(0, len(volatile), _CHUNK):
            await self._write_down(volatile[start : start + _CHUNK])

    async def _write_down(self, jobs: Sequence[Job]) -> None:
        try:
            await self.store.add(jobs, held=False)
        except (StorageError, AlreadyExists) as error:
            if len(jobs) == 1:
                _log.error("waiting job %d could not be written down and is lost: %s", jobs[0].id, error)
                return
            for job in jobs:
                await self._write_down([job])


@dataclass(frozen=True, slots=True)
class Ground:
    """What the engine stands on."""

    settings: Settings
    clock: Clock
    store: Store
    queue: JobQueue
    specs: Sequence[RunnerSpec]
    settings_fault: SettingsFault
    origins: Sequence[OriginKind] = ()


@dataclass(frozen=True, slots=True)
class Groups:
    """Where tasks live."""

    work: TaskGroup
    """Slots, and steps that must end."""
    beside: TaskGroup
    """What runners keep between jobs; ends after them."""


@asynccontextmanager
async def run_engine(ground: Ground) -> AsyncIterator[Engine]:
    """Start the engine, hand it out, and stop it at the end if nobody has done so."""
    settings, store, queue, clock = ground.settings, ground.store, ground.queue, ground.clock
    new_id = IdGenerator(store.node, await store.max_id(), clock.now_ms)
    instance = _this_instance(settings, new_id(), clock)
    async with (
        anyio.create_task_group() as background,
        anyio.create_task_group() as beside,
        anyio.create_task_group() as work,
    ):
        engine = _assemble(ground, new_id, instance, Groups(work, beside))
        await store.register(instance)
        await store.reclaim_dead_owners()
        await engine.registry.load()
        await engine.catalog.refresh()
        await engine.channels.reopen(engine.catalog.workers())
        await _warn_of_rows_nobody_runs(store, engine.catalog.channels)
        engine.live.restore_keys(dict(await store.keys()))
        await engine.journals.takers.begin(engine.catalog.channels)  # before a row is leased
        keeper = Keeper(
            KeeperParts(
                store, engine.catalog, engine.waiting, engine.live, queue, engine.poller, engine.journals, clock
            ),
            instance.id,
            settings.job_lease_sec * 1000,
        )
        background.start_soon(keeper.run)
        background.start_soon(_poll, engine)
        await engine.registry.start()
        engine.pool.tidy(engine.catalog.used_kinds())
        for channel, slots in engine.catalog.channels.items():
            engine.dispatcher.open(channel, slots)
        try:
            yield engine
        finally:
            with anyio.CancelScope(shield=True):
                await engine.stop(0)
                await _unregister(engine)
            beside.cancel_scope.cancel()
            background.cancel_scope.cancel()


def _assemble(ground: Ground, new_id: IdGenerator, instance: Instance, groups: Groups) -> Engine:
    settings, store, queue, clock = ground.settings, ground.store, ground.queue, ground.clock
    interval_ms = settings.job_queue_fetch_interval_ms
    host, live, feeds, owned = Host(settings, groups.beside), LiveJobs(), Feeds(), OwnedTasks(groups.work)
    pool, rules = RunnerPool(host), CatalogRules(settings.channels, interval_ms, ground.settings_fault)
    catalog, channels = Catalog(store, ground.specs, rules, pool, clock, owned), rules.channels
    registry = RunnerRegistry(RegistryParts(catalog, store, clock, new_id, owned, host), ground.origins)
    waiting, pace = _waiting(settings, clock), Pace(queue, channels)
    poller = Poller(store, queue, live, channels, clock, interval_ms)
    chain = Chain(catalog, live, queue, poller, new_id)
    completer = Completer(
        CompleterParts(catalog, live, chain, waiting, feeds, store, queue, poller, pace, clock), new_id, interval_ms
    )
    executor = Executor(
        ExecutorParts(catalog, live, waiting, feeds, pool, queue, poller, pace, store, clock),
        completer,
        ExecutorLimits(settings.stream_store_max_bytes, settings.job_max_deliveries, interval_ms),
    )
    doors = IntakeParts(catalog, live, waiting, feeds, queue, store, poller, completer, clock, owned)
    intake = Intake(doors, new_id, settings.job_queue_full_wait_ms, interval_ms)
    dispatcher, timetable = Dispatcher(queue, executor.execute, groups.work), Timetable(store, poller, clock)
    catalog.on_removed, catalog.on_replaced, poller.on_leased = intake.end_orphans, timetable.follow, catalog.refresh
    opener = ChannelOpener(settings, channels, dispatcher, poller, store, instance)
    parts = ParentParts(catalog, live, waiting, queue, intake, executor.execute, groups.work, new_id, opener.open)
    executor.parents, executor.journals = Parents(parts), _journals(doors, ground, groups, new_id, host)
    return Engine(
        settings=settings,
        clock=clock,
        store=store,
        queue=queue,
        catalog=catalog,
        registry=registry,
        live=live,
        waiting=waiting,
        pool=pool,
        poller=poller,
        intake=intake,
        completer=completer,
        dispatcher=dispatcher,
        channels=opener,
        parents=executor.parents,
        journals=executor.journals,
        standings=_standings(catalog, host, groups, intake),
        new_id=new_id,
    )


def _journals(doors: IntakeParts, ground: Ground, groups: Groups, new_id: IdGenerator, host: Host) -> Journals:
    settings, store = ground.settings, ground.store
    takers = NoteTakers(NoteTakerParts(host.shared(EventBus), store, new_id, Room.of(settings)))
    journals = Journals(
        JournalParts(
            store,
            store,
            doors.catalog,
            doors.live,
            EventLogs(ground.clock, settings.job_queue_expire_job_result_seconds),
            groups.work,
            doors.owned,
            new_id,
            ground.clock,
            takers,
            settings.workflow_checkpoint_expire_sec,
            settings.workflow_checkpoint_max_count,
        )
    )
    doors.live.on_left = journals.left
    return journals


def _standings(catalog: Catalog, host: Host, groups: Groups, intake: Intake) -> Standings:
    standings = Standings(host, groups.beside, intake)
    catalog.on_entered, catalog.on_dropped, catalog.settled = standings.entered, standings.dropped, standings.settled
    return standings


def _waiting(settings: Settings, clock: Clock) -> Waiting:
    return Waiting(
        clock,
        settings.job_queue_expire_job_result_seconds,
        settings.result_retention_max_bytes,
        settings.stream_store_max_bytes,
    )


def _this_instance(settings: Settings, instance_id: int, clock: Clock) -> Instance:
    now = clock.now_ms()
    hostname = socket.gethostname()
    return Instance(instance_id, "127.0.0.1", hostname, tuple(settings.channels.items()), now, now)


async def _warn_of_rows_nobody_runs(store: Store, channels: Mapping[str, int]) -> None:
    for channel, count in (await store.rows_by_channel()).items():
        if channel not in channels:
            _log.warning(
                "%d stored jobs wait in channel %r, which this process does not serve: open it with WORKER_CHANNELS "
                "and WORKER_CHANNEL_CONCURRENCIES, or delete them",
                count,
                channel,
            )


async def _poll(engine: Engine) -> None:
    with engine.polling:
        await engine.poller.run()


async def _unregister(engine: Engine) -> None:
    try:
        await engine.store.unregister(engine.channels.instance.id)
    except StorageError as error:
        _log.warning("this process could not be taken off the list: %s", error)
