"""What is known of a run while it goes on: one line for each task, made from events. No I/O."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, cast

from jobworkerp_standalone.cli.gist import gist
from jobworkerp_standalone.client.workflows import error_line
from jobworkerp_standalone.jobs.visible import one_line
from jobworkerp_standalone.pb.jobworkerp.data import WorkflowEvent
from jobworkerp_standalone.pb.jobworkerp.standalone import TaskCancelled, TaskFaulted, TaskRetried, WatchedEvent

ROOT = "/ROOT"
ENDED_BY: Final = {"timeout": "ended by a timeout", "cancelled": "cancelled"}
"""What is said of tasks that were ended from outside."""
_SKIPPED = ("skip_if", "skip")
Order = tuple[tuple[bool, int, str], ...]


class TaskState(StrEnum):
    """How a task is doing."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAULTED = "faulted"
    SKIPPED = "skipped"
    WAITING = "waiting"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more is to be expected."""
        return self is not TaskState.RUNNING


@dataclass(slots=True)
class TaskLine:
    """A task of the document, over all the times that it ran."""

    name: str
    kind: str
    position: str
    depth: int
    state: TaskState = TaskState.RUNNING
    order: Order = ()
    """Sorts tasks as the document has them."""
    started_ms: int = 0
    """When it began for the first time."""
    begun_ms: int = 0
    """When it began for the last time while none of its other runs was going on."""
    busy_ms: int = 0
    """How long it ran up to then."""
    last_took_ms: int | None = None
    """How long its last run took; None where others went on beside it, because events do not tell them apart."""
    beside: bool = False
    """Whether runs of it are or were going on side by side since ``begun_ms``."""
    runs: int = 0
    """How many times it began; more than once in loops and when it was tried again."""
    active: int = 0
    """How many of them are going on."""
    retries: int = 0
    """Of a try: how many times it tried again."""
    faults: int = 0
    """How many times it failed, caught or not."""
    error: dict[str, Any] = field(default_factory=dict[str, Any])
    """The last failure."""
    ended_by: str = ""
    """Why it was ended from outside, as far as that was told: timeout or cancelled."""
    failed_items: int = 0
    """Of a loop that goes on: how many items failed."""
    items: int = 0
    """Of such a loop, once it has ended: how many items there were."""
    skips: int = 0
    """How many times it was left out."""
    output: str = ""
    """The last line that its job has put out: while it runs where it streams, else when it has ended."""

    def took_ms(self, now_ms: int) -> int:
        """Return for how long it was running up to now, all its runs together; those side by side count once."""
        return self.busy_ms + (max(0, now_ms - self.begun_ms) if self.active else 0)

    @property
    def ends(self) -> int:
        """Return how many of its runs are over."""
        return self.runs - self.active

    @property
    def reason(self) -> str:
        """Return why it failed, in one printable line: title, the gist of the detail, type and status."""
        detail = self.error.get("detail")
        told = gist(detail) if isinstance(detail, str) else detail
        return one_line(error_line({**self.error, "detail": told, "instance": None}))

    @property
    def ending(self) -> str:
        """Return what is to be told of how it ended beside its state, in one line; empty where it just ended."""
        match self.state:
            case TaskState.FAULTED:
                return self.reason
            case TaskState.CANCELLED:
                return ENDED_BY.get(self.ended_by, "ended with the run")
            case _ if self.failed_items:
                of_all = f" of {self.items}" if self.items else ""
                return f"{self.failed_items}{of_all} failed: {self.reason}"
            case _:
                return ""

    def begin(self, now_ms: int) -> None:
        """Take note of one more run."""
        self.state = TaskState.RUNNING
        self.started_ms = self.started_ms or now_ms
        if not self.active:
            self.begun_ms, self.beside = now_ms, False
        self.runs += 1
        self.active += 1
        self.beside = self.beside or self.active > 1

    def end(self, state: TaskState, now_ms: int) -> None:
        """Take note of the end of a run; one whose beginning nobody told took no time."""
        self.started_ms = self.started_ms or now_ms
        if not self.active:
            self.runs, self.begun_ms, self.beside = self.runs + 1, now_ms, False
        took = max(0, now_ms - self.begun_ms)
        self.last_took_ms = None if self.beside else took
        self.active = max(0, self.active - 1)
        if not self.active:
            self.state = state
            self.busy_ms += took


class Progress:
    """The tasks of a run, in the order in which they stand in the document as far as they have begun."""

    def __init__(self) -> None:
        self.tasks: dict[str, TaskLine] = {}
        self.name = ""
        self.run_id = ""
        self.started_ms = 0
        self.now_ms = 0
        """Time of the last event."""
        self.resumes_at = ""
        self.ended = False
        self.closed = False
        """Whether nothing changes any more."""
        self._jobs: dict[int, str] = {}
        """Positions of the tasks whose jobs stream."""

    def lines(self) -> Iterator[TaskLine]:
        """Yield the tasks, each before those inside of it."""
        return iter(sorted(self.tasks.values(), key=lambda each: each.order))

    def around(self, position: str) -> Iterator[TaskLine]:
        """Yield the tasks that a position lies inside of, the innermost first."""
        while position := position.rpartition("/")[0]:
            if (task := self.tasks.get(position)) is not None:
                yield task

    def take(self, event: WatchedEvent) -> TaskLine | None:
        """Take an event, and return the task whose state changed with it."""
        self.now_ms = event.time_ms
        if event.event is not None:
            return self._take_known(event.event, event.last_line)
        if event.workflow_started is not None:
            told = event.workflow_started
            self.name, self.run_id = f"{told.namespace}/{told.name}:{told.version}", told.id
            self.started_ms = self.started_ms or self.now_ms
        elif event.task_faulted is not None:
            return self._faulted(event.task_faulted)
        elif event.task_cancelled is not None:
            return self._cancelled(event.task_cancelled)
        elif event.task_retried is not None:
            return self._retried(event.task_retried)
        elif event.workflow_ended is not None:
            self.resumes_at = event.workflow_ended.resumes_at
            self.ended = True
        return None

    def close(self, state: TaskState) -> None:
        """Say how those tasks ended that nobody told the end of: the run waits in them, or was cancelled."""
        self.closed = True
        for task in self.tasks.values():
            if not task.state.over:
                task.active = 1
                task.end(state, self.now_ms)

    def _take_known(self, event: WorkflowEvent, last_line: str | None) -> TaskLine | None:
        if event.task_started is not None:
            return self._started(
                event.task_started.task_name, event.task_started.task_type, event.task_started.position
            )
        if event.task_completed is not None:
            told = event.task_completed
            task = self._completed(told.task_name, told.task_type, told.position)
            if task is not None and last_line:
                task.output = one_line(last_line)
            return task
        if event.for_item_failed is not None and (loop := self.tasks.get(event.for_item_failed.position)) is not None:
            self._item_failed(loop, event.for_item_failed.error_payload_json)
        if event.streaming_job_started is not None and event.streaming_job_started.job_id is not None:
            self._jobs[event.streaming_job_started.job_id.value] = event.streaming_job_started.position
        if event.streaming_job_completed is not None and event.streaming_job_completed.job_id is not None:
            self._jobs.pop(event.streaming_job_completed.job_id.value, None)
        if event.streaming_data is not None and event.streaming_data.job_id is not None:
            self._printed(event.streaming_data.job_id.value, last_line)
        return None

    def _started(self, name: str, kind: str, position: str) -> TaskLine | None:
        if position == ROOT:
            return None
        task = self._line(name, kind, position)
        task.begin(self.now_ms)
        return task

    def _completed(self, name: str, kind: str, position: str) -> TaskLine | None:
        if position == ROOT:
            return None
        task = self._line(name, kind, position)
        if kind in _SKIPPED:
            task.skips += 1
            if not task.runs:
                task.state = TaskState.SKIPPED
            return task
        if task.failed_items:
            first = (each for each in self.tasks.values() if each.position.startswith(f"{position}/do/0/"))
            task.items = max(task.failed_items, max((each.runs + each.skips for each in first), default=0))
        task.end(TaskState.COMPLETED, self.now_ms)
        return task

    @staticmethod
    def _item_failed(loop: TaskLine, payload: str) -> None:
        error = _object(payload).get("error")
        loop.failed_items += 1
        loop.error = cast("dict[str, Any]", error) if isinstance(error, dict) else {"title": str(error)}

    def _faulted(self, told: TaskFaulted) -> TaskLine:
        task = self._line(told.task_name, told.task_type, told.position)
        task.faults += 1
        task.error = _object(told.error)
        task.end(TaskState.FAULTED, self.now_ms)
        return task

    def _cancelled(self, told: TaskCancelled) -> TaskLine:
        task = self._line(told.task_name, told.task_type, told.position)
        task.ended_by = told.reason
        task.end(TaskState.CANCELLED, self.now_ms)
        return task

    def _retried(self, told: TaskRetried) -> TaskLine:
        task = self._line(told.task_name, "tryTask", told.position)
        task.retries = max(task.retries, told.retry)
        return task

    def _printed(self, job_id: int, last_line: str | None) -> None:
        task = self.tasks.get(self._jobs.get(job_id, ""))
        if task is not None and last_line:
            task.output = one_line(last_line)

    def _line(self, name: str, kind: str, position: str) -> TaskLine:
        task = self.tasks.get(position)
        if task is None:
            depth = sum(1 for _ in self.around(position))
            task = self.tasks[position] = TaskLine(name, kind, position, depth, order=_order(position))
        if task.kind in _SKIPPED:
            task.kind = kind
        return task


def is_skipped(event: WatchedEvent) -> bool:
    """Tell whether an event says that a task is left out."""
    told = event.event.task_completed if event.event is not None else None
    return told is not None and told.task_type in _SKIPPED


def seconds(ms: int) -> str:
    """Return a duration for people."""
    if ms < 1000:  # noqa: PLR2004 - of a second
        return f"{ms} ms"
    if ms < 60_000:  # noqa: PLR2004 - of a minute
        return f"{ms / 1000:.1f} s"
    minutes, rest = divmod(ms // 1000, 60)
    return f"{minutes} min {rest:02d} s"


def times(line: TaskLine) -> str:
    """Return how often a task ran, where that is worth a word."""
    if line.retries:
        return f"attempt {line.retries + 1}"
    return f"x{line.runs}" if line.runs > 1 else ""


def _order(position: str) -> Order:
    """Return what sorts positions as the document has them: numbers by their value."""
    parts = position.replace("/catch/", "/try~/").split("/")  # which follows what is tried
    return tuple((part.isdecimal(), len(part) if part.isdecimal() else 0, part) for part in parts)


def _object(text: str) -> dict[str, Any]:
    try:
        value: Any = json.loads(text)
    except ValueError:
        return {"title": text}
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {"title": text}
