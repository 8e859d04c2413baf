"""WorkerInstanceService: the processes that execute jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.jobs.errors import NotFound
from jobworkerp_standalone.jobs.model import channel_from_name
from jobworkerp_standalone.ports import Instance
from jobworkerp_standalone.rpc.limits import text_of
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService


class WorkerInstanceRpc(WireService):
    """Who is there, since when, with which channels."""

    full_name = "jobworkerp.service.WorkerInstanceService"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def find_list(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield instances, by default the active ones."""
        channel = channel_from_name(text_of(request, "channel")) if request.HasField("channel") else None
        active_only = request.active_only if request.HasField("active_only") else True
        for instance in await self._listed():
            if (not active_only or self._is_active(instance)) and (
                channel is None or channel in dict(instance.channels)
            ):
                yield _message(instance)

    async def count(self, request: Message, stream: ServerStream) -> Reply:
        """Return how many instances there are, and how many are active."""
        instances = await self._listed()
        reply = wire.message_type("jobworkerp.service.CountInstanceResponse")()
        reply.total = len(instances)
        reply.active = sum(self._is_active(instance) for instance in instances)
        return reply

    async def find(self, request: Message, stream: ServerStream) -> Reply:
        """Return one instance."""
        for instance in await self._listed():
            if instance.id == request.value:
                return _message(instance)
        raise NotFound(f"worker instance {request.value} does not exist; list the instances to find the right id")

    async def find_channel_list(self, request: Message, stream: ServerStream) -> Reply:
        """Return the channels of all active instances, with their slots added up."""
        slots: Counter[str] = Counter()
        serving: Counter[str] = Counter()
        for instance in await self._listed():
            if self._is_active(instance):
                for name, count in instance.channels:
                    slots[name] += count
                    serving[name] += 1
        workers = Counter(worker.channel for worker in self._engine.catalog.workers())
        reply = wire.message_type("jobworkerp.service.FindInstanceChannelListResponse")()
        for name, total in slots.items():
            reply.channels.add(
                name=name, total_concurrency=total, active_instances=serving[name], worker_count=workers[name]
            )
        return reply

    async def _listed(self) -> Sequence[Instance]:
        return await self._engine.store.instances() if self._engine.settings.worker_instance_enabled else ()

    def _is_active(self, instance: Instance) -> bool:
        age_ms = self._engine.clock.now_ms() - instance.last_heartbeat_ms
        return age_ms <= self._engine.settings.worker_instance_timeout_sec * 1000


def _message(instance: Instance) -> Message:
    message = wire.message_type("jobworkerp.data.WorkerInstance")()
    message.id.value = instance.id
    data = message.data
    data.ip_address = instance.ip_address
    data.hostname = instance.hostname
    for name, concurrency in instance.channels:
        data.channels.add(name=name, concurrency=concurrency)
    data.registered_at = instance.registered_at_ms
    data.last_heartbeat = instance.last_heartbeat_ms
    return message
