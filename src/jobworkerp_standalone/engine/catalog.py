"""Worker definitions and runner kinds, held in memory: a job never waits for a look-up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import anyio

from jobworkerp_standalone.engine.kinds import Kinds
from jobworkerp_standalone.engine.owned import OwnedTasks
from jobworkerp_standalone.engine.worker_rules import check_next_workers, check_periodic_interval, check_worker
from jobworkerp_standalone.jobs.cron import cron_schedule
from jobworkerp_standalone.jobs.errors import AlreadyExists, InvalidRequest, NotFound
from jobworkerp_standalone.jobs.model import Rules, Worker
from jobworkerp_standalone.ports import Clock, WorkerStore
from jobworkerp_standalone.runners.pool import RunnerPool
from jobworkerp_standalone.runners.spec import RunnerSpec

SettingsFault = Callable[[str, bytes], Awaitable[str | None]]
"""Says what is wrong with settings bytes, given the runner's schema as text; None where nothing is."""


@dataclass(frozen=True, slots=True)
class CatalogRules:
    """What this process allows a definition to say."""

    channels: dict[str, int]
    """Open channels with their slots; grows where a running job names one."""
    fetch_interval_ms: int
    """A period must be longer than this."""
    settings_fault: SettingsFault


@dataclass(frozen=True, slots=True)
class Entry:
    """A worker with what is derived from it once."""

    worker: Worker
    spec: RunnerSpec | None
    """None where the runner is away or gone; ``Catalog.kinds`` knows which."""
    rules: Rules
    """The rules of a job without overrides."""


class Catalog:
    """All workers by id and name, all runner kinds by id and name.

    Args:
        store: where definitions are kept.
        specs: the runner kinds of this process.
        allowed: what a definition may say here.
        pool: warm instances, dropped when their worker changes.
        clock: gives the time of creation.
        owned: where changes run to their end, so that memory and store agree also where the caller hangs up.
    """

    def __init__(
        self,
        store: WorkerStore,
        specs: Sequence[RunnerSpec],
        allowed: CatalogRules,
        pool: RunnerPool,
        clock: Clock,
        owned: OwnedTasks,
    ) -> None:
        self._store = store
        self._pool = pool
        self._clock = clock
        self._owned = owned
        self._allowed = allowed
        self.kinds = Kinds(specs)
        self._by_id: dict[int, Entry] = {}
        self._by_name: dict[str, Entry] = {}
        self._temporary: dict[int, Entry] = {}
        self._writing = anyio.Lock()
        self._changes = -1
        """What the store counted when it was last looked at."""
        self.on_removed: Callable[[int], Awaitable[None]] = _nobody_to_tell
        """Called after a definition was removed, so that its waiting jobs can be ended."""
        self.on_replaced: Callable[[Worker, Worker], Awaitable[None]] = _nobody_follows
        """Called with the old and the new definition after one was replaced here."""
        self.on_entered: Callable[[Entry], None] = _nobody_looks
        self.on_dropped: Callable[[int], None] = _nobody_looks
        """Called at once with every definition that comes, and with the id of every one that goes."""
        self.settled: Callable[[], Awaitable[None]] = _nothing_to_wait_for
        """Waits until what begins with definitions that have come has begun."""

    async def refresh(self) -> None:
        """Take over what changed in the store: all definitions at start, later what other processes wrote.

        Raises:
            StorageError: it could not be read; nothing changed here.
        """
        if await self._store.worker_changes() == self._changes:
            return
        async with self._writing:
            changes = await self._store.worker_changes()
            stored = {worker.id: worker for worker in await self._store.all_workers()}
            known = {entry.worker.id: entry.worker for entry in self._by_id.values()}
            other = {worker_id: worker for worker_id, worker in known.items() if stored.get(worker_id) != worker}
            new = [worker for worker in stored.values() if known.get(worker.id) != worker]
            for worker in new:
                if worker.cron:  # the first look at a cron expression takes long
                    await anyio.to_thread.run_sync(cron_schedule, worker.cron, worker.cron_timezone)
            for worker in other.values():
                self._drop(worker)
            for worker in new:
                self._enter(worker)
            self._changes = changes
        await self.settled()
        for worker_id in other:
            await self._pool.release(worker_id)
        for worker_id in other.keys() - stored.keys():
            await self.on_removed(worker_id)

    def find(self, worker_id: int) -> Entry | None:
        """Return a worker by id, also one that was lent."""
        return self._by_id.get(worker_id) or self._temporary.get(worker_id)

    def find_by_name(self, name: str) -> Entry | None:
        """Return a worker by name."""
        return self._by_name.get(name)

    async def look_up(self, worker: int | str) -> Entry | None:
        """Return a worker that is unknown here, in case another process on the same store has made it since."""
        stored = await self._store.all_workers()
        if (entry := self._by_id.get(worker) if isinstance(worker, int) else self._by_name.get(worker)) is not None:
            return entry  # somebody else has found it meanwhile
        for known in stored:
            if worker in (known.id, known.name) and known.id not in self._by_id and known.name not in self._by_name:
                self._enter(known)
                return self._by_id[known.id]
        return None

    def lend(self, worker: Worker) -> Entry:
        """Enter a worker that is made for one job: in memory alone, found by its id, seen in no list."""
        entry = self._temporary[worker.id] = Entry(worker, self.kinds.get(worker.runner_id), worker.rules())
        return entry

    async def lend_checked(self, worker: Worker) -> Entry:
        """Check a definition of a client, and enter it for one job.

        Raises:
            InvalidRequest: a field is wrong, or it has a schedule.
        """
        await self._check(worker)
        if worker.recurring:
            raise InvalidRequest(f"worker {worker.name!r} is to exist for one job and has a schedule; leave one out")
        return self.lend(worker)

    def lent(self, worker_id: int | str) -> Worker | None:
        """Return a worker that exists for one job, by its id."""
        entry = self._temporary.get(worker_id) if isinstance(worker_id, int) else None
        return entry.worker if entry is not None else None

    def take_back(self, worker_id: int) -> bool:
        """Forget a worker if it was lent; whether it was."""
        return self._temporary.pop(worker_id, None) is not None

    def workers(self) -> Iterator[Worker]:
        """Iterate over all definitions, in order of their ids."""
        return (entry.worker for _, entry in sorted(self._by_id.items()))

    @property
    def channels(self) -> Mapping[str, int]:
        """Open channels with their slots."""
        return self._allowed.channels

    def used_kinds(self) -> list[RunnerSpec]:
        """Return the runner kinds that have workers."""
        used = {entry.worker.runner_id for entry in self._by_id.values()}
        return [spec for spec in self.kinds.all() if spec.id in used]

    async def put_kind(self, spec: RunnerSpec) -> None:
        """Make a runner kind known, or replace it: jobs that run end on the old one, the next get the new one."""
        self.kinds.put(spec)
        await self._rebind(spec.id)

    async def set_kind_away(self, runner_id: int, name: str) -> None:
        """Note that a runner kind exists and cannot be run now."""
        self.kinds.set_away(runner_id, name)
        await self._rebind(runner_id)

    async def remove_kind(self, runner_id: int) -> None:
        """Forget a runner kind for good. Its workers stay, and say so."""
        self.kinds.remove(runner_id)
        await self._rebind(runner_id)

    async def create(self, worker: Worker) -> Worker:
        """Check and add a definition; its ``id`` is chosen by the store.

        Raises:
            InvalidRequest: a field is wrong.
            AlreadyExists: the name is taken.
        """
        await self._check(worker)
        return await self._owned.run(self._settle, self._create, worker)

    async def upsert(self, worker: Worker) -> Worker:
        """Check, then replace the definition of that name or add one."""
        await self._check(worker)
        return await self._owned.run(self._settle, self._upsert, worker)

    async def update(self, worker: Worker) -> Worker:
        """Check and replace the definition with this id.

        Raises:
            NotFound: there is none.
            AlreadyExists: another worker has the name.
        """
        await self._check(worker)
        return await self._owned.run(self._settle, self._update, worker)

    async def remove(self, worker_id: int) -> bool:
        """Remove a definition; whether it was there."""
        return await self._owned.run(self._remove, worker_id)

    async def _settle(self, change: Callable[[Worker], Awaitable[Worker]], worker: Worker) -> Worker:
        changed = await change(worker)
        await self.settled()
        return changed

    async def _create(self, worker: Worker) -> Worker:
        async with self._writing:
            if worker.name in self._by_name:
                raise _name_taken(worker.name)
            return await self._add(worker)

    async def _upsert(self, worker: Worker) -> Worker:
        async with self._writing:
            known = self._by_name.get(worker.name) or await self.look_up(worker.name)
            if known is None:
                return await self._add(worker)
            return await self._replace(replace(worker, id=known.worker.id), known.worker)

    async def _update(self, worker: Worker) -> Worker:
        async with self._writing:
            known = self._by_id.get(worker.id) or await self.look_up(worker.id)
            if known is None:
                raise NotFound(f"worker id {worker.id} does not exist; list the workers to find the right id")
            namesake = self._by_name.get(worker.name)
            if namesake is not None and namesake.worker.id != worker.id:
                raise _name_taken(worker.name)
            return await self._replace(worker, known.worker)

    async def _remove(self, worker_id: int) -> bool:
        async with self._writing:
            known = self._by_id.get(worker_id)
            if known is None:
                return False
            await self._store.remove_worker(worker_id)
            self._drop(known.worker)
        await self._pool.release(worker_id)
        await self.on_removed(worker_id)
        return True

    async def _check(self, worker: Worker) -> None:
        spec = self.kinds.get(worker.runner_id)
        if spec is None and self.kinds.is_away(worker.runner_id):
            raise self.kinds.why_not(worker)
        await anyio.to_thread.run_sync(check_worker, worker, spec, self._allowed.channels)
        check_periodic_interval(worker.periodic_interval_ms, self._allowed.fetch_interval_ms)
        if spec is not None and spec.settings_proto and worker.runner_settings:
            await self._check_settings(worker.runner_settings, spec)

    def _worker(self, worker_id: int) -> Worker | None:
        entry = self._by_id.get(worker_id)
        return entry.worker if entry else None

    async def _check_settings(self, settings: bytes, spec: RunnerSpec) -> None:
        fault = await self._allowed.settings_fault(spec.settings_proto, settings)
        if fault is not None:
            raise InvalidRequest(
                f"runner_settings ({len(settings)} bytes) do not fit runner {spec.name}: {fault}; "
                "encode them with the runner's runner_settings_proto"
            )

    async def _add(self, worker: Worker) -> Worker:
        check_next_workers(worker, self._worker, self.kinds.get)
        added = await self._store.add_worker(replace(worker, created_at_ms=self._clock.now_ms()))
        self._enter(added)
        return added

    async def _replace(self, worker: Worker, known: Worker) -> Worker:
        check_next_workers(worker, self._worker, self.kinds.get)
        worker = replace(worker, created_at_ms=known.created_at_ms)
        await self._store.replace_worker(worker)
        self._drop(known)
        self._enter(worker)
        await self._pool.release(worker.id)
        await self.on_replaced(known, worker)
        return worker

    def _enter(self, worker: Worker) -> None:
        entry = Entry(worker, self.kinds.get(worker.runner_id), worker.rules())
        self._by_id[worker.id] = self._by_name[worker.name] = entry
        self.on_entered(entry)

    async def _rebind(self, runner_id: int) -> None:
        """Have the workers of a runner kind see what became of it; what was loaded for them before is closed."""
        workers = [entry.worker for entry in self._by_id.values() if entry.worker.runner_id == runner_id]
        for worker in workers:
            self._enter(worker)
        for worker in workers:
            await self._pool.release(worker.id)

    def _drop(self, worker: Worker) -> None:
        self._by_id.pop(worker.id, None)
        self._by_name.pop(worker.name, None)
        self.on_dropped(worker.id)


def _name_taken(name: str) -> AlreadyExists:
    return AlreadyExists(f"a worker named {name!r} already exists; choose another name, or update that one")


async def _nobody_to_tell(worker_id: int) -> None:
    """No engine runs on top of this catalog."""


async def _nobody_follows(old: Worker, new: Worker) -> None:
    """No engine runs on top of this catalog."""


def _nobody_looks(what: object) -> None:
    """No engine runs on top of this catalog."""


async def _nothing_to_wait_for() -> None:
    """No engine runs on top of this catalog."""
