"""What a run tells while it goes on: events for those who watch its job, results for those who read its stream."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import lru_cache
from typing import Any, Final

from google.protobuf.message import DecodeError, Message

from jobworkerp_standalone.jobs.visible import last_line
from jobworkerp_standalone.runners.journal import Journal
from jobworkerp_standalone.schema.messages import message_class
from jobworkerp_standalone.workflow.errors import WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.lifecycle import Lifecycle, Phase
from jobworkerp_standalone.workflow.model.tasks import CallTask, RunTask, Task, kind_of
from jobworkerp_standalone.workflow.run_state import RunState
from jobworkerp_standalone.workflow.state import Outcome

ROOT: Final = "/ROOT"
"""In front of pointers in results, checkpoints and events."""
_WATCHED: Final[Any] = message_class("jobworkerp.standalone.WatchedEvent")

_LINE: Final = 200
_SAYS: Final = ("stdout", "output", "stderr", "output_stderr", "progress")
"""Members of results that have a program's output; the first one that is not empty is shown."""

Snapshot = Callable[[str, JSON], Awaitable[None]]
"""Sends a result: position and output so far."""


class Notices:
    """Where the news of one run go.

    Args:
        journal: takes events; None, or one that nobody watches, spares making them.
        snapshot: takes a result after each task; None where the job is no stream.
        lifecycle: tells everybody who listens for the events of workflows; None where nobody can.
    """

    def __init__(
        self, journal: Journal | None = None, snapshot: Snapshot | None = None, lifecycle: Lifecycle | None = None
    ) -> None:
        self._journal = journal if journal is not None and journal.watched else None
        self._snapshot = snapshot
        self._lifecycle = lifecycle

    async def run_started(self, run: RunState, *, again: bool = False) -> None:
        """The run begins, or goes on."""
        if (lifecycle := self._watched) is not None:
            if again:
                lifecycle.of_workflow(Phase.RESUMED)
            else:
                lifecycle.of_workflow(Phase.STARTED, {"definition": lifecycle.definition})
        if self._journal is None:
            return
        event = _event()
        workflow = run.workflow
        event.workflow_started.id = run.id
        event.workflow_started.namespace = workflow.namespace
        event.workflow_started.name = workflow.name
        event.workflow_started.version = workflow.version
        self._tell(event)
        self._begun("doTask", "ROOT", ROOT)

    async def run_ended(self, run: RunState) -> None:
        """The run is over, or waits."""
        if (lifecycle := self._watched) is not None:
            _tell_end(lifecycle, run)
        if self._journal is None:
            return
        event = _event()
        event.workflow_ended.status = run.status
        event.workflow_ended.output = run.output_text
        if run.error is not None:
            event.workflow_ended.error = json_text(run.error.as_json())
        if run.resumes_at:
            event.workflow_ended.resumes_at = ROOT + run.resumes_at
        self._tell(event)

    async def started(self, task: Task, *, again: bool) -> None:
        """A task begins, or a run that goes on enters it once more (``again``)."""
        if (lifecycle := self._watched) is not None:
            for phase in (Phase.RESUMED,) if again else (Phase.CREATED, Phase.STARTED):
                lifecycle.of_task(phase, task)
        if self._journal is not None:
            self._begun(_type(task), task.name, ROOT + task.origin.pointer)

    async def skipped(self, task: Task, how: str = "skip_if") -> None:
        """A task is left out: its condition does not hold, or a run that goes on has it behind it (``skip``)."""
        if self._journal is not None:
            self._ended(how, task)

    async def completed(self, task: Task, outcome: Outcome, said: str) -> None:
        """A task ended well."""
        if (lifecycle := self._watched) is not None:
            lifecycle.of_task(Phase.COMPLETED, task, {"output": outcome.output})
        if self._journal is not None:
            self._ended(_type(task), task, _last_line(task, said or outcome.output))
        if self._snapshot is not None:
            await self._snapshot(task.origin.pointer, outcome.output)

    async def faulted(self, task: Task, error: WorkflowError) -> None:
        """A task failed; something around it may still catch that."""
        if (lifecycle := self._watched) is not None:
            lifecycle.of_task(Phase.FAULTED, task, {"error": error.as_json()})
        if self._journal is None:
            return
        event = _event()
        _name(event.task_faulted, task)
        event.task_faulted.error = json_text(error.as_json())
        self._tell(event)

    def suspended(self, task: Task) -> None:
        """A task is suspended with something inside it."""
        if (lifecycle := self._watched) is not None:
            lifecycle.of_task(Phase.SUSPENDED, task)

    def cancelled(self, task: Task, *, out_of_time: bool) -> None:
        """A task was ended from outside; ``out_of_time``: as the time of something around it was over."""
        if (lifecycle := self._watched) is not None:
            lifecycle.of_task(Phase.CANCELLED, task)
        if self._journal is None:
            return
        event = _event()
        _name(event.task_cancelled, task)
        event.task_cancelled.reason = "timeout" if out_of_time else "cancelled"
        self._tell(event)

    def correlating(self) -> None:
        """A listener begins."""
        if (lifecycle := self._watched) is not None:
            lifecycle.of_workflow(Phase.CORRELATION_STARTED)

    def correlated(self, keys: Mapping[str, JSON]) -> None:
        """A listener has heard enough."""
        if (lifecycle := self._watched) is not None:
            lifecycle.of_workflow(Phase.CORRELATION_COMPLETED, {"correlationKeys": dict(keys)} if keys else {})

    async def retried(self, task: Task, retry: int, delay_ms: float) -> None:
        """A ``try`` is about to try again."""
        if (lifecycle := self._watched) is not None:
            lifecycle.of_task(Phase.RETRIED, task)
        if self._journal is None:
            return
        event = _event()
        event.task_retried.task_name = task.name
        event.task_retried.position = ROOT + task.origin.pointer
        event.task_retried.retry = retry
        event.task_retried.delay_ms = int(delay_ms)
        self._tell(event)

    async def item_failed(self, task: Task, index: int, item: JSON, error: WorkflowError) -> None:
        """An item of a loop failed and the loop goes on."""
        payload: JSON = {"error": error.as_json(), "index": index, "item": item}
        if self._journal is not None:
            event = _event()
            failed = event.event.for_item_failed
            failed.task_name = task.name
            failed.position = ROOT + task.origin.pointer
            failed.index = index
            failed.error_payload_json = json_text(payload)
            self._tell(event)
        if self._snapshot is not None:
            await self._snapshot(task.origin.pointer, payload)

    def job_started(self, task: Task, job_id: int, runner: str, worker: str | None, *, streaming: bool) -> None:
        """A task has started a job."""
        if self._journal is None:
            return
        event = _event()
        started = event.event.streaming_job_started if streaming else event.event.job_started
        started.job_id.value = job_id
        started.runner_name = runner
        if worker is not None:
            started.worker_name = worker
        started.position = ROOT + task.origin.pointer
        self._tell(event)

    def job_ended(self, task: Task, job_id: int, *, streaming: bool) -> None:
        """A job of a task has ended."""
        if self._journal is None:
            return
        event = _event()
        ended = event.event.streaming_job_completed if streaming else event.event.job_completed
        ended.job_id.value = job_id
        ended.position = ROOT + task.origin.pointer
        self._tell(event)

    def job_data(self, job_id: int, data: bytes, kind: type[Message] | None) -> None:
        """A streaming job of a task has sent a piece, a message of a kind; text where there is None."""
        if self._journal is None:
            return
        event = _event()
        event.event.streaming_data.job_id.value = job_id
        event.event.streaming_data.data = data
        if line := _cut(_text_in(data, kind)):
            event.last_line = line
        self._tell(event)

    @property
    def _watched(self) -> Lifecycle | None:
        return self._lifecycle if self._lifecycle is not None and self._lifecycle.watched else None

    def _begun(self, type_: str, name: str, position: str) -> None:
        if self._journal is not None:
            self._journal.tell(_of_task("task_started", type_, name, position) + _now())

    def _ended(self, type_: str, task: Task, more: bytes = b"") -> None:
        if self._journal is not None:
            self._journal.tell(_of_task("task_completed", type_, task.name, ROOT + task.origin.pointer) + _now() + more)

    def _tell(self, event: Any) -> None:
        if self._journal is not None:
            self._journal.tell(event.SerializeToString())


def _tell_end(lifecycle: Lifecycle, run: RunState) -> None:
    match run.status.name:
        case "COMPLETED":
            lifecycle.of_workflow(Phase.COMPLETED, {"output": run.output})
        case "FAULTED":
            lifecycle.of_workflow(Phase.FAULTED, {"error": run.error.as_json() if run.error is not None else {}})
        case "CANCELLED":
            lifecycle.of_workflow(Phase.CANCELLED)
        case _:
            lifecycle.of_workflow(Phase.SUSPENDED)


def _event() -> Any:
    return _WATCHED(time_ms=int(time.time() * 1000))


@lru_cache(4096)
def _of_task(what: str, type_: str, name: str, position: str) -> bytes:
    """Return an event without its time: a workflow that runs again tells the same. Bytes of messages can be joined."""
    event = _WATCHED()
    inner = getattr(event.event, what)
    inner.task_type, inner.task_name, inner.position = type_, name, position
    return event.SerializeToString()


def _last_line(task: Task, output: JSON) -> bytes:
    """Return the last line of what a job put out, to be joined to the rest of the event."""
    if not isinstance(task, (RunTask, CallTask)):
        return b""
    text = output.get("stdout") if isinstance(output, dict) else output
    if not isinstance(text, str):
        return b""
    line = _cut(text)
    return _WATCHED(last_line=line).SerializeToString() if line else b""


def _cut(text: str) -> str:
    return last_line(text)[:_LINE].encode("utf-8", "replace").decode()


def _text_in(data: bytes, kind: type[Message] | None) -> str:
    """Return what a piece of a stream says: its output, else what it says beside that."""
    if kind is None:
        return data.decode("utf-8", "replace")
    try:
        piece = kind.FromString(data)
    except DecodeError:
        return ""
    said = (getattr(piece, name, "") for name in _SAYS)
    return next((text for text in said if isinstance(text, str) and text.strip()), "")


def _now() -> bytes:
    """Return the time of an event, to be joined to the rest of it."""
    return _time(int(time.time() * 1000))


@lru_cache(8)
def _time(time_ms: int) -> bytes:
    return _WATCHED(time_ms=time_ms).SerializeToString()


def _name(told: Any, task: Task) -> None:
    """Say in a part of an event which task it is about."""
    told.task_type, told.task_name, told.position = _type(task), task.name, ROOT + task.origin.pointer


def _type(task: Task) -> str:
    return f"{kind_of(task)}Task"
