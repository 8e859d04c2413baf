"""JobRestoreService: durable jobs that nobody is running."""

from __future__ import annotations

from collections.abc import AsyncIterator

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService


class JobRestoreRpc(WireService):
    """Durable jobs are picked up without being asked for; a call here only hurries that on."""

    full_name = "jobworkerp.service.JobRestoreService"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def restore(self, request: Message, stream: ServerStream) -> Reply:
        """Look for jobs of dead processes now."""
        await self._engine.store.reclaim_dead_owners()
        self._engine.poller.nudge(0)
        reply = wire.message_type("jobworkerp.service.SuccessResponse")()
        reply.is_success = True
        return reply

    async def find_all(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield durable jobs that were meant to start at once and that no living process holds."""
        limit = max(0, request.limit) if request.HasField("limit") else None
        for job in await self._engine.store.recoverable(limit, include_held=request.include_grabbed):
            yield wire.job_message(job)
