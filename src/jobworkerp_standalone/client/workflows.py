"""Runs of workflows: started, watched, cancelled with whoever waits for them, gone on with later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, Self, cast

from grpclib.const import Status as GrpcStatus

from jobworkerp_standalone.client.client import Client
from jobworkerp_standalone.client.coding import decode_output, encode_args_leniently
from jobworkerp_standalone.client.errors import CallFailed, ClientError, WorkflowFaulted, WorkflowInvalid
from jobworkerp_standalone.client.running import Ended, enqueue
from jobworkerp_standalone.client.temporary import temporary_worker
from jobworkerp_standalone.pb.jobworkerp.data import (
    JobId,
    QueueType,
    ResponseType,
    ResultStatus,
    Runner,
    WorkerData,
    WorkerId,
)
from jobworkerp_standalone.pb.jobworkerp.service import JobRequest
from jobworkerp_standalone.pb.jobworkerp.standalone import ResumeRequest, WatchedEvent, WatchRequest

RUNNER: Final = "WORKFLOW"
_RUN: Final = "run"
_AT_ONCE: Final = 65_536
"""Characters that are encoded on the event loop; what is longer goes to a thread."""


class State(StrEnum):
    """How a run of a workflow ended, or that it waits."""

    COMPLETED = "completed"
    FAULTED = "faulted"
    CANCELLED = "cancelled"
    WAITING = "waiting"
    INVALID = "invalid"
    """It never began: the document, or what it was given, cannot be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowOrder:
    """What is to be run."""

    document: str
    """JSON or YAML."""
    input: str = ""
    """JSON, or text."""
    context: str | None = None
    """Variables, as a JSON object."""
    timeout_ms: int | None = None
    """Limit of the whole run."""
    execution_id: str | None = None
    """The name under which its checkpoints are kept."""
    go_on_after: str | None = None
    """Position of a task that ended in an earlier run of this ``execution_id``: what came before is not run again."""

    def arguments(self) -> dict[str, Any]:
        """Return them as the runner's arguments."""
        given: dict[str, Any] = {"workflow_data": self.document, "input": self.input}
        if self.context is not None:
            given["workflow_context"] = self.context
        if self.execution_id is not None:
            given["execution_id"] = self.execution_id
        if self.go_on_after is not None:
            given["from_checkpoint"] = {"position": self.go_on_after}
        return given


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRun:
    """A run of a workflow that is over, or waits."""

    state: State
    job_id: int
    """Id of the job; what ``resume`` needs where the run waits."""
    id: str = ""
    """Id of the run itself, a UUID."""
    output: Any = None
    """What it left behind, as JSON has it."""
    position: str = ""
    """The task that ended last, or the place that failed, as a JSON pointer below ``/ROOT``."""
    error: dict[str, Any] | None = None
    """The error of the DSL that ended it: type, status, title, detail, instance."""
    text: str = ""
    """What the server says about a run that did not end well."""

    def checked(self) -> Self:
        """Return a run that completed or waits.

        Raises:
            WorkflowInvalid: it never began.
            WorkflowFaulted: it ended with an error, or somebody ended it.
        """
        if self.state in (State.COMPLETED, State.WAITING):
            return self
        if self.state is State.INVALID:
            raise WorkflowInvalid(ResultStatus.OTHER_ERROR.name, self.text, self.job_id)
        status = "CANCELLED" if self.state is State.CANCELLED else "FAULTED"
        raise WorkflowFaulted(status, self.error or {}, self.text, self.job_id)


class WorkflowRuns:
    """Starts, follows and ends runs by way of one worker. Made by ``workflow_runs``."""

    def __init__(self, client: Client, runner: Runner, worker_id: WorkerId | None) -> None:
        self._client = client
        self._runner = runner
        self.worker_id = worker_id
        """A worker that broadcasts, so that its jobs can be listened to; None where none is to be started."""

    async def start(self, order: WorkflowOrder) -> int:
        """Start a run and return the id of its job.

        Raises:
            CallFailed: it was not accepted.
        """
        encode = partial(encode_args_leniently, self._runner, _RUN, order.arguments())
        large = len(order.input) + len(order.document) > _AT_ONCE
        args = await asyncio.to_thread(encode) if large else encode()
        request = JobRequest(worker_id=self.worker_id, args=args, using=_RUN, timeout=order.timeout_ms)
        return await enqueue(self._client, request)

    async def resume(self, job_id: int, payload: str | None, position: str | None = None) -> int:
        """Go on with a run that stopped, and return the id of the job that does it.

        Args:
            job_id: of the run that stopped.
            payload: the output of the task that waits, as JSON.
            position: the task to begin with again.

        Raises:
            CallFailed: that cannot be done; NOT_FOUND where nothing is kept of the run.
        """
        request = ResumeRequest(job_id=JobId(value=job_id), payload=payload, from_position=position)
        reply = await self._client.workflow.resume(request)
        if reply.job_id is None:
            raise ClientError("the server goes on with the run without saying in which job")
        return reply.job_id.value

    async def events(self, job_id: int) -> AsyncIterator[WatchedEvent]:
        """Yield what happens in a run, from its beginning, until it is over. Nothing where the server does not tell.

        Raises:
            Unreachable: the connection broke.
        """
        try:
            async for event in self._client.workflow_events.watch(WatchRequest(job_id=JobId(value=job_id))):
                yield event
        except CallFailed as error:
            if error.status not in (GrpcStatus.UNIMPLEMENTED, GrpcStatus.NOT_FOUND):
                raise

    def item(self, data: bytes) -> Any:
        """Return an item of the stream of a run as JSON."""
        return decode_output(self._runner, _RUN, data)

    def result(self, ended: Ended) -> WorkflowRun:
        """Return how a run ended whose job has ended."""
        if ended.status is ResultStatus.SUCCESS:
            return self._reported(self.item(ended.output), ended)
        if ended.status is ResultStatus.CANCELLED:
            return WorkflowRun(state=State.CANCELLED, job_id=ended.job_id, text=ended.text)
        error = _error_in(ended.text)
        state = State.INVALID if ended.status is ResultStatus.OTHER_ERROR else State.FAULTED
        place = (error or {}).get("instance")
        return WorkflowRun(
            state=state,
            job_id=ended.job_id,
            position=f"/ROOT{place}" if place else "",
            error=error,
            text=error_line(error or {}) or ended.text,
        )

    def _reported(self, reported: Any, ended: Ended) -> WorkflowRun:
        if not isinstance(reported, dict):
            raise ClientError(f"the result of job {ended.job_id} is not one of a workflow")
        result = cast("dict[str, Any]", reported)
        return WorkflowRun(
            state=State(str(result.get("status", "Completed")).lower()),
            job_id=ended.job_id,
            id=result.get("id", ""),
            output=_json(result.get("output", "")),
            position=result.get("position", ""),
            text=result.get("errorMessage", ""),
        )


def workflow_worker(name: str, runner: Runner, channel: str | None = None) -> WorkerData:
    """Return a worker for runs that are followed by their ids."""
    return WorkerData(
        name=name,
        runner_id=runner.id,
        channel=channel or None,
        queue_type=QueueType.NORMAL,
        response_type=ResponseType.NO_RESULT,
        broadcast_results=True,
    )


def temporary_workflow_worker(
    client: Client, runner: Runner, *, for_one_job: bool = True
) -> AbstractAsyncContextManager[WorkerId]:
    """Make such a worker for as long as it is needed."""
    data = workflow_worker("JobworkerpClientWorkflow", runner)
    return temporary_worker(client, data, for_one_job=for_one_job)


def _error_in(text: str) -> dict[str, Any] | None:
    value = _json(text)
    return cast("dict[str, Any]", value) if isinstance(value, dict) and "type" in value else None


def error_line(error: Mapping[str, Any]) -> str:
    """Return an error of the DSL as ``title: detail (type, status at instance)``, as far as it has these."""
    said = ": ".join(str(error[key]).strip() for key in ("title", "detail") if error.get(key))
    kind, status, place = (error.get(key) for key in ("type", "status", "instance"))
    ground = ", ".join(str(each) for each in (str(kind or "").rpartition("/")[2], status) if each)
    ground += f" at {place}" if place else ""
    return f"{said} ({ground.strip()})" if said and ground else said or ground


def _give_way(value: dict[str, Any]) -> dict[str, Any]:
    """Be called by the parser for each object: in between another thread may have the interpreter."""
    return value


def _json(text: str) -> Any:
    try:
        return json.loads(text, object_hook=_give_way) if text else None
    except ValueError:
        return text
