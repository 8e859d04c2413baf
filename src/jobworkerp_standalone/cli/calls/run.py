"""Running a workflow from the command line: in a daemon of this process or on a server, until it ends or Ctrl-C."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Final

from jobworkerp_standalone.cli.calls.endings import CODES, complaint_of
from jobworkerp_standalone.cli.calls.place import Place, in_loop, opened
from jobworkerp_standalone.cli.calls.workflow_file import Refused
from jobworkerp_standalone.cli.exits import PROGRAM, Exit, Stop, run_exits
from jobworkerp_standalone.cli.interrupts import Interrupts, interrupts
from jobworkerp_standalone.cli.junit import report_of, report_of_findings, write_report
from jobworkerp_standalone.cli.processes import kill_descendants
from jobworkerp_standalone.cli.progress import Progress, TaskState
from jobworkerp_standalone.cli.progress_views import View, ViewOptions, run_json, task_json, view_for, watched
from jobworkerp_standalone.cli.show import as_json, emit, note
from jobworkerp_standalone.client import Client, ClientError
from jobworkerp_standalone.client.running import end_job, listen
from jobworkerp_standalone.client.steady import to_the_end, together
from jobworkerp_standalone.client.workflows import (
    RUNNER,
    State,
    WorkflowOrder,
    WorkflowRun,
    WorkflowRuns,
    temporary_workflow_worker,
)
from jobworkerp_standalone.pb.jobworkerp.data import JobId
from jobworkerp_standalone.workflow.load import mark_of

_START_HINT: Final = f"start one with '{PROGRAM} all-in-one', or name another with --server"
Begin = Callable[[WorkflowRuns], Awaitable[int]]
"""Starts a job and returns its id."""
_LEFT: Final = {
    State.WAITING: TaskState.WAITING,
    State.CANCELLED: TaskState.CANCELLED,
    State.FAULTED: TaskState.CANCELLED,
    State.INVALID: TaskState.CANCELLED,
    State.COMPLETED: TaskState.COMPLETED,
}
"""What becomes of tasks of which nobody told the end."""
CANCELLING: Final = "cancelling: the jobs of the run are ended; once more does not wait for them"


class NotWaiting(Exception):
    """Somebody did not want to wait for the end of a run."""


@dataclass(slots=True)
class Watch:
    """A run that somebody watches."""

    view: View
    progress: Progress
    interrupts: Interrupts
    place: Place
    job_id: int = field(default=0, init=False)

    async def follow(self, client: Client, runs: WorkflowRuns, begin: Begin) -> WorkflowRun:
        """Start a run and show it until it is over; the first interrupt ends it, the next does not wait for that.

        Raises:
            NotWaiting: it was interrupted twice, and a server is left to end it.
        """
        self.job_id = await begin(runs)
        seeing = asyncio.ensure_future(together(listen(client, runs.worker_id, self.job_id), self._show(runs)))
        asked = asyncio.ensure_future(self._end_when_asked(client))
        try:
            await asyncio.wait([seeing, asked], return_when=asyncio.FIRST_COMPLETED)
            if not seeing.done():
                raise NotWaiting
            run = runs.result(seeing.result())
        except (ClientError, OSError, Stop):
            await to_the_end(end_job(client, runs.worker_id, self.job_id))
            raise
        finally:
            for task in (seeing, asked):
                task.cancel()
            await asyncio.wait([seeing, asked])
        if run.state is State.CANCELLED and self.interrupts.first.is_set():
            run = replace(run, text="this command was told to end (Ctrl-C, SIGTERM or SIGHUP)")
        self.progress.close(_LEFT[run.state])
        return run

    async def _show(self, runs: WorkflowRuns) -> None:
        async for event in runs.events(self.job_id):
            self.view.take(event, self.progress.take(event))

    async def _end_when_asked(self, client: Client) -> None:
        """Return when nobody wants to wait any longer."""
        await self.interrupts.first.wait()
        self.view.say(self.interrupts.why or CANCELLING)
        with suppress(ClientError):
            await client.job.delete(JobId(value=self.job_id))
        await self.interrupts.again.wait()
        while self.place.embedded:
            self.view.say("killing what still runs")
            self.interrupts.again.clear()
            kill_descendants()
            await self.interrupts.again.wait()


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a run is told of."""

    file: str
    """What it is called."""
    view: ViewOptions
    junit: str | None = None
    without_input: bool = False
    """Whether nobody gave an input."""
    text: str | None = None
    """The document, where it came from the file."""


def run(place: Place, order: WorkflowOrder, report: Report) -> int:
    """Run a workflow and return the exit code.

    Raises:
        Stop: it could not be run, or its result not be told.
    """
    with run_exits(_START_HINT):
        report = replace(report, without_input=not order.input)
        return in_loop(_run(place, report, lambda runs: runs.start(order), anew=True))


def resume(place: Place, job_id: int, payload: str | None, position: str | None, report: Report) -> int:
    """Go on with a run that waits, or begin one again at a task, and return the exit code.

    Raises:
        Stop: it could not be gone on with.
    """
    with run_exits(_START_HINT):
        return in_loop(_run(place, report, lambda runs: runs.resume(job_id, payload, position), anew=False))


async def _run(place: Place, report: Report, begin: Begin, *, anew: bool) -> int:
    progress = Progress()
    view = view_for(report.view, progress, report.file)
    with interrupts() as heard:
        watch = Watch(view, progress, heard, place)
        async with opened(place, view) as client:
            try:
                run = await _watched(watch, client, begin, anew=anew)
            except NotWaiting:
                note(f"not waiting: job {watch.job_id} is ended by the server")
                return Exit.INTERRUPTED
    code = CODES[run.state]
    if not tell(report, progress, run, place):
        return code or Exit.USAGE
    return code


async def _watched(watch: Watch, client: Client, begin: Begin, *, anew: bool) -> WorkflowRun:
    runner = await client.schemas.runner(RUNNER)
    async with temporary_workflow_worker(client, runner) if anew else nullcontext() as worker_id:
        with watched(watch.view):
            return await watch.follow(client, WorkflowRuns(client, runner, worker_id), begin)


def tell_refused(report: Report, refused: Refused) -> None:
    """Tell machines of a document that is not valid, in the form that they want; people know it.

    Raises:
        Stop: standard output cannot be written.
    """
    findings = list(refused.found.rows())
    run = run_json(WorkflowRun(state=State.INVALID, job_id=0, text=str(refused.message)))
    if report.junit is not None:
        complaint = write_report(report.junit, report_of_findings(report.file, findings))
        if complaint is not None:
            note(f"error: {complaint}")
    if report.view.events:
        emit(as_json({"kind": "result", **run, "findings": findings}, compact=True))
    elif report.view.form == "json":
        emit(as_json({**run, "tasks": [], "findings": findings}))


def tell(report: Report, progress: Progress, run: WorkflowRun, place: Place) -> bool:
    """Show how a run ended: its output on standard output, everything else on standard error.

    Returns:
        Whether the report of tests, where one is wanted, could be written.

    Raises:
        Stop: standard output cannot be written.
    """
    complaint = write_report(report.junit, report_of(report.file, progress, run)) if report.junit is not None else None
    run = run if run.id else replace(run, id=progress.run_id)
    if report.view.events:
        emit(as_json({"kind": "result", **run_json(run)}, compact=True))
    elif report.view.form == "json":
        emit(as_json({**run_json(run), "tasks": [task_json(each, progress.now_ms) for each in progress.lines()]}))
    elif run.state is State.COMPLETED or (run.state is State.WAITING and run.output is not None):
        emit(run.output if isinstance(run.output, str) else as_json(run.output))
    if run.state is State.WAITING:
        before = f" before {progress.resumes_at}" if progress.resumes_at else ""
        kept = not place.embedded or place.storage is not None
        note(f"the run waits{before}" + (f"; go on with: {place.resume_line(run.job_id)}" if kept else ""))
    elif (failed := complaint_of(run, without_input=report.without_input)) is not None:
        note(f"error: {failed.message}")
        if (place_in_file := _place_in_file(report, run)) is not None:
            note(f"  at {place_in_file}")
        if failed.hint is not None:
            note(f"hint: {failed.hint}")
    if complaint is not None:
        note(f"error: {complaint}")
    return complaint is None


def _place_in_file(report: Report, run: WorkflowRun) -> str | None:
    """Return where the task stands that ended a run, as editors and terminals open it."""
    pointer = run.position.removeprefix("/ROOT")
    mark = mark_of(report.text, pointer) if report.text is not None and run.state is State.FAULTED else None
    return f"{report.file}:{mark.line}:{mark.column}" if mark is not None else None
