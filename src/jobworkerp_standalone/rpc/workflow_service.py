"""What this server adds for workflows: watching a job, going on with one."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Final

from jobworkerp_standalone import wire
from jobworkerp_standalone.engine.engine import Engine
from jobworkerp_standalone.jobs.errors import InvalidRequest, NotFound
from jobworkerp_standalone.jobs.json_in import json_value
from jobworkerp_standalone.rpc.limits import limit_of
from jobworkerp_standalone.rpc.service import Message, Reply, ServerStream, WireService

_DEFAULT_LIMIT: Final = 100
_log = logging.getLogger(__name__)


class WorkflowEventRpc(WireService):
    """Events of workflow jobs."""

    full_name = "jobworkerp.standalone.WorkflowEventService"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def watch(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield what is kept of a job's events, then what comes, until it ends."""
        job_id, events = _job_id(request), self._engine.journals.events
        if not events.knows(job_id):
            if self._engine.live.get(job_id) is None and await self._engine.store.find(job_id) is None:
                raise NotFound(f"nothing is known of events of job {job_id}; they are kept for a while only")
            events.open(job_id)
        async for number, event in events.watch(job_id):
            # Bytes of the same message one behind the other are one message.
            yield event + wire.message_type("jobworkerp.standalone.WatchedEvent")(sequence=number).SerializeToString()


class WorkflowRpc(WireService):
    """Workflows that stopped: which there are, going on with one."""

    full_name = "jobworkerp.standalone.WorkflowService"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def resume(self, request: Message, stream: ServerStream) -> Reply:
        """Start a job that goes on with one that stopped."""
        wish: dict[str, object] = {}
        if request.HasField("payload"):
            try:
                wish["payload"] = json_value(request.payload)
            except ValueError as error:
                raise InvalidRequest(f"payload is not JSON: {error}; quote a text") from error
        if request.HasField("from_position"):
            wish["from"] = request.from_position
        job_id = await self._engine.journals.go_on(
            self._engine.intake,
            _job_id(request),
            json.dumps(wish).encode("utf-8", "replace"),
            anew="from" in wish,
        )
        reply = wire.message_type("jobworkerp.standalone.ResumeResponse")()
        reply.job_id.value = job_id
        return reply

    async def list_waiting(self, request: Message, stream: ServerStream) -> AsyncIterator[Reply]:
        """Yield runs that wait, the latest first."""
        limit = limit_of(request, _DEFAULT_LIMIT, least=1) or _DEFAULT_LIMIT
        for job_id, told in await self._engine.journals.waiting(limit):
            try:
                run = wire.message_type("jobworkerp.standalone.WaitingRun")(**json.loads(told))
            except (ValueError, TypeError) as error:
                _log.warning("what is told of job %d, which waits, is damaged: %r", job_id, error)
                run = wire.message_type("jobworkerp.standalone.WaitingRun")()
            run.job_id.value = job_id
            yield run


def _job_id(request: Message) -> int:
    if not request.HasField("job_id"):
        raise InvalidRequest("job_id is missing: set it to the id of a workflow job")
    return request.job_id.value
