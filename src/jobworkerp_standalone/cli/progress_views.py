"""Ways to watch a run: a live tree on a terminal, a line for each change elsewhere, one JSON document per event."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol, cast

from jobworkerp_standalone.cli.progress import ENDED_BY, Progress, TaskLine, TaskState, is_skipped, seconds, times
from jobworkerp_standalone.cli.progress_tree import Tree
from jobworkerp_standalone.cli.show import as_json, emit, note, value_of
from jobworkerp_standalone.client.workflows import State, WorkflowRun
from jobworkerp_standalone.jobs.visible import one_line
from jobworkerp_standalone.pb.jobworkerp.standalone import WatchedEvent

_ERRORS: Final = "https://serverlessworkflow.io/spec/1.0.0/errors/"
_ENDS: Final = {0: State.COMPLETED, 1: State.FAULTED, 2: State.CANCELLED, 5: State.WAITING}
"""How a run ended, by the numbers of WorkflowResult.WorkflowStatus."""


@dataclass(frozen=True, slots=True)
class ViewOptions:
    """How somebody wants to watch."""

    form: Literal["text", "json"] = "text"
    events: bool = False
    """One JSON document per event on standard output."""
    quiet: bool = False


class View(Protocol):
    """Shows a run while it goes on."""

    def take(self, event: WatchedEvent, changed: TaskLine | None, /) -> None:
        """Something happened."""
        ...

    def say(self, text: str) -> None:
        """Tell people something."""
        ...


class Lines:
    """A line on standard error for each change of a task, for logs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._left_out: TaskLine | None = None
        """A task that was left out, and may be again at once: in loops that is told once."""
        self._left_out_ms = 0

    def take(self, event: WatchedEvent, changed: TaskLine | None, /) -> None:
        """Write what changed."""
        if changed is not None and is_skipped(event):
            if changed is not self._left_out:
                self._tell_left_out()
            self._left_out, self._left_out_ms = changed, event.time_ms
            return
        self._tell_left_out()
        if event.workflow_started is not None:
            note(f"{_clock(event.time_ms)} run {self._progress.run_id} of {self._progress.name}")
        elif event.task_retried is not None:
            told = event.task_retried
            note(f"{_clock(event.time_ms)} {told.position}: retry {told.retry} in {seconds(told.delay_ms)}")
        elif changed is not None:
            note(f"{_clock(event.time_ms)} {one_line(changed.position)}: {_change(event, changed)}")

    def say(self, text: str) -> None:
        """Write it."""
        note(text)

    def _tell_left_out(self) -> None:
        if (line := self._left_out) is not None:
            often = f" (x{line.skips})" if line.skips > 1 else ""
            note(f"{_clock(self._left_out_ms)} {one_line(line.position)}: skipped{often}")
        self._left_out = None


class Events:
    """One JSON document per event, on standard output."""

    def take(self, event: WatchedEvent, _changed: TaskLine | None, /) -> None:
        """Write it."""
        emit(as_json(event_json(event), compact=True))

    def say(self, text: str) -> None:
        """Tell people; never on standard output."""
        note(text)


class Silent:
    """Nothing but what people must be told."""

    def take(self, _event: WatchedEvent, _changed: TaskLine | None, /) -> None:
        """Show nothing."""

    def say(self, text: str) -> None:
        """Write it."""
        note(text)


def view_for(options: ViewOptions, progress: Progress, title: str) -> View:
    """Return the way to watch that fits the options and where standard error goes."""
    if options.events:
        return Events()
    if options.quiet:
        return Silent()
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        return Lines(progress)
    return Tree(progress, title)


@contextmanager
def watched(view: View) -> Iterator[View]:
    """Show a run for as long as this is entered."""
    if not isinstance(view, Tree):
        yield view
        return
    view.live.start()
    try:
        yield view
    finally:
        with suppress(OSError):  # the terminal may have gone
            view.live.stop()


def event_json(event: WatchedEvent) -> dict[str, Any]:
    """Return an event with number, time and kind in front: ids are texts, statuses words, as in the result."""
    fields: dict[str, Any] = event.to_dict()
    numbers: dict[str, Any] = {"sequence": event.sequence, "timeMs": event.time_ms}
    what = {key: value for key, value in fields.items() if key not in numbers}
    what |= what.pop("event", {})
    last = {"lastLine": what.pop("lastLine")} if "lastLine" in what else {}
    kind = next(iter(what), "")
    told = {key: _plain(key, value) for key, value in what.get(kind, {}).items()}
    if (ended := event.workflow_ended) is not None:
        status = _ENDS.get(ended.status, str(ended.status))
        output = None if ended.error is not None else told.get("output")
        told |= {"status": status, "output": output}
    return {**numbers, "kind": kind, **told, **last}


def _plain(key: str, value: Any) -> Any:
    """Return a field of an event as the result has it: an id as text, JSON as what it stands for."""
    if key.endswith("Id") and isinstance(value, dict):
        return cast("dict[str, Any]", value).get("value")
    return value_of(value) if key in ("output", "error") and isinstance(value, str) else value


def run_json(run: WorkflowRun) -> dict[str, Any]:
    """Return how a run ended, as JSON."""
    job_id = str(run.job_id) if run.job_id else ""
    told = {"status": str(run.state), "id": run.id, "jobId": job_id, "output": run.output, "position": run.position}
    if run.state not in (State.COMPLETED, State.WAITING):
        told["error"] = run.error or _error_of(run)
    return told


def _error_of(run: WorkflowRun) -> dict[str, Any]:
    """Return an error for a run that ended without one of its own."""
    if run.state is State.CANCELLED:
        return {"type": "cancelled", "title": "the run was cancelled", "detail": run.text}
    if run.state is State.FAULTED and run.text.startswith("timeout: "):
        title, _, detail = run.text.partition(": ")
        return {"type": f"{_ERRORS}timeout", "status": 408, "title": title, "detail": detail}
    return {"title": run.text}


def task_json(line: TaskLine, now_ms: int) -> dict[str, Any]:
    """Return a task as JSON."""
    told: dict[str, Any] = {"name": line.name, "kind": line.kind, "position": line.position, "state": str(line.state)}
    told |= {"startedMs": line.started_ms, "durationMs": line.took_ms(now_ms), "runs": line.runs}
    if line.retries:
        told["attempts"] = line.retries + 1
    if line.output:
        told["lastLine"] = line.output
    if line.ended_by and line.state is TaskState.CANCELLED:
        told["reason"] = line.ended_by
    if line.failed_items:
        told["failedItems"] = line.failed_items
    if line.error:
        told["error"] = line.error
    return told


def _change(event: WatchedEvent, line: TaskLine) -> str:
    told = event.event
    if event.task_cancelled is not None:
        return f"{ENDED_BY.get(line.ended_by, 'cancelled')}{_after(line)}"
    if event.task_faulted is not None:
        return f"FAULTED{_after(line)}: {line.reason}"
    if told is not None and told.task_completed is not None:
        said = line.ending if line.failed_items else one_line(event.last_line or "")
        said = f": {said}" if said else ""
        return f"completed{_after(line)}{said}"
    return f"{line.kind.removesuffix('Task')} started"


def _after(line: TaskLine) -> str:
    """Return how long the run of a task took that is over, as far as that is known, and the how manieth it was."""
    took = f" after {seconds(line.last_took_ms)}" if line.last_took_ms is not None else ""
    again = times(line) if line.retries else f"x{line.ends}" * (line.ends > 1)
    return f"{took} ({again})" if again else took


def _clock(ms: int) -> str:
    return time.strftime("%H:%M:%S", time.localtime(ms / 1000)) + f".{ms % 1000:03d}"
