"""WorkerService: definitions of workers, their channels, their warm runners."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Final

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.catalog import Entry
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.engine.temporary import FOR_ONE_JOB_KEY
from jobworkerp_standalone.engine.worker_rules import check_name
from jobworkerp_standalone.jobs.errors import FailedPrecondition, InvalidRequest, NotFound
from jobworkerp_standalone.jobs.model import DEFAULT_CHANNEL, DEFAULT_CHANNEL_LABEL, Worker, channel_from_name
from jobworkerp_standalone.rpc.limits import MAX_ENUMS, MAX_IDS, few, limit_of, offset_of, text_of
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService

_LOAD_TIMEOUT_MS: Final = 600_000
_SORT_KEYS: Final[dict[int, Callable[[Worker], Any]]] = {
    2: lambda worker: (worker.name, worker.id),
    3: lambda worker: (worker.runner_id, worker.id),
    4: lambda worker: (worker.periodic_interval_ms, worker.id),
    5: lambda worker: (worker.created_at_ms, worker.id),
}


class WorkerRpc(WireService):
    """Worker definitions. Everything is answered from memory; changes are stored first."""

    full_name = "jobworkerp.service.WorkerService"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._catalog = engine.catalog

    async def create(self, request: Message, stream: ServerStream) -> Reply:
        """Add a definition, or lend one that goes with its job."""
        if FOR_ONE_JOB_KEY in (stream.metadata or {}):
            return _created((await self._catalog.lend_checked(wire.worker(request, self._engine.new_id()))).worker)
        return _created(await self._catalog.create(wire.worker(request)))

    async def upsert_by_name(self, request: Message, stream: ServerStream) -> Reply:
        """Replace the definition of that name, or add one."""
        return _created(await self._catalog.upsert(wire.worker(request)))

    async def update(self, request: Message, stream: ServerStream) -> Reply:
        """Replace a whole definition; without ``data`` nothing happens."""
        if not request.HasField("id"):
            raise NotFound("id is missing: set the id of the worker to update")
        if request.HasField("data"):
            await self._catalog.update(wire.worker(request.data, request.id.value))
        return _success(done=request.HasField("data"))

    async def delete(self, request: Message, stream: ServerStream) -> Reply:
        """Remove a definition; its waiting jobs end with a result that says so."""
        lent = self._catalog.take_back(request.value)
        return _success(done=lent or await self._catalog.remove(request.value))

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return a worker by id; nothing where there is none."""
        return _optional(self._catalog.find(request.value) or await self._catalog.look_up(request.value))

    async def find_by_name(self, request: Message, stream: ServerStream) -> Reply:
        """Return a worker by name; nothing where there is none."""
        return _optional(self._catalog.find_by_name(request.name) or await self._catalog.look_up(request.name))

    async def find_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield workers that match."""
        limit, offset = limit_of(request, None), offset_of(request)
        found = sorted(
            self._matching(request),
            key=_SORT_KEYS.get(request.sort_by, lambda worker: worker.id),
            reverse=not request.ascending,
        )
        for worker in found if limit is None else found[offset : offset + limit]:
            yield wire.worker_message(worker)

    async def count(self, request: Message, stream: ServerStream) -> Reply:
        """Return the number of workers."""
        return _count(sum(1 for _ in self._catalog.workers()))

    async def count_by(self, request: Message, stream: ServerStream) -> Reply:
        """Return how many workers match."""
        return _count(sum(1 for _ in self._matching(request)))

    async def find_channel_list(self, request: Message, stream: ServerStream) -> Reply:
        """Return the channels of this process."""
        reply = wire.message_type("jobworkerp.service.FindChannelListResponse")()
        workers = list(self._catalog.workers())
        serving = [dict(each.channels) for each in await self._engine.store.instances()]
        for name, slots in self._engine.catalog.channels.items():
            channel = reply.channels.add()
            channel.name = DEFAULT_CHANNEL_LABEL if name == DEFAULT_CHANNEL else name
            channel.concurrency = slots
            channel.worker_count = sum(worker.channel == name for worker in workers)
            channel.total_concurrency = sum(each.get(name, 0) for each in serving)
            channel.active_instances = sum(name in each for each in serving)
        return reply

    async def release_static_worker(self, request: Message, stream: ServerStream) -> Reply:
        """Close the warm runners of one worker, or of all."""
        if request.WhichOneof("target") is None:
            await self._engine.pool.aclose()
            return _success(done=True)
        worker = self._target(request).worker
        if not worker.use_static:
            raise FailedPrecondition(f"worker {worker.name!r} does not use static runners (use_static is false)")
        await self._engine.pool.release(worker.id)
        return _success(done=True)

    async def load(self, request: Message, stream: ServerStream) -> Reply:
        """Load a worker's runner in a slot of its channel; a static worker keeps it warm."""
        if request.WhichOneof("target") is None:
            raise InvalidRequest("target is missing: set worker_id or name")
        timeout_ms = request.timeout_ms if request.HasField("timeout_ms") else _LOAD_TIMEOUT_MS
        by_id = request.WhichOneof("target") == "worker_id"
        await self._engine.intake.load(
            request.worker_id.value if by_id else self._target(request).worker.id, timeout_ms
        )
        return _success(done=True)

    def _target(self, request: Message) -> Entry:
        if request.WhichOneof("target") == "worker_id":
            entry, shown = self._catalog.find(request.worker_id.value), f"worker_id {request.worker_id.value}"
        else:
            check_name("name", request.name)
            entry, shown = self._catalog.find_by_name(request.name), f"name {request.name!r}"
        if entry is None:
            raise NotFound(f"{shown} does not exist; list the workers to find the right one")
        return entry

    def _matching(self, request: Message) -> Iterator[Worker]:
        few("runner_types", request.runner_types, MAX_ENUMS)
        few("runner_ids", request.runner_ids, MAX_IDS)
        prefix = (text_of(request, "name_filter") or "").lower()
        channel = channel_from_name(text_of(request, "channel")) if request.HasField("channel") else None
        runner_ids = {each.value for each in request.runner_ids}
        types = set(request.runner_types)
        for worker in self._catalog.workers():
            spec = self._catalog.kinds.get(worker.runner_id)
            if (
                (not types or (spec is not None and spec.type in types))
                and (not runner_ids or worker.runner_id in runner_ids)
                and (channel is None or worker.channel == channel)
                and worker.name.lower().startswith(prefix)
                and (not request.HasField("is_periodic") or worker.recurring == request.is_periodic)
            ):
                yield worker


def _created(worker: Worker) -> Message:
    reply = wire.message_type("jobworkerp.service.CreateWorkerResponse")()
    reply.id.value = worker.id
    return reply


def _optional(entry: Entry | None) -> Message:
    reply = wire.message_type("jobworkerp.service.OptionalWorkerResponse")()
    if entry is not None:
        reply.data.CopyFrom(wire.worker_message(entry.worker))
    return reply


def _success(*, done: bool) -> Message:
    reply = wire.message_type("jobworkerp.service.SuccessResponse")()
    reply.is_success = done
    return reply


def _count(total: int) -> Message:
    reply = wire.message_type("jobworkerp.service.CountResponse")()
    reply.total = total
    return reply
