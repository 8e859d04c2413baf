"""Task lists and what every task goes through: condition, input, work, output, export, directive.

Every step has a key, under which what it leaves behind is kept for a later life of the run: see ``progress``.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import anyio

from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON, is_true
from jobworkerp_standalone.workflow.limits import Limit
from jobworkerp_standalone.workflow.model.calls import FunctionCall, HttpCall, OpenApiCall
from jobworkerp_standalone.workflow.model.document import Extension
from jobworkerp_standalone.workflow.model.tasks import (
    CallTask,
    DoTask,
    ForkTask,
    ForTask,
    RunTask,
    Task,
    TaskList,
    TryTask,
    kind_of,
)
from jobworkerp_standalone.workflow.model.values import Directive, Goto
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState, Trail
from jobworkerp_standalone.workflow.tasks import body_of

if TYPE_CHECKING:
    from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

MAX_DEPTH: Final = 60
"""Task lists inside each other; every one takes its share of the interpreter's own depth."""
_TURN_SEC: Final = 0.002
"""How long tasks that wait for nothing keep others from their turn."""


async def execute_tasks(run: WorkflowRun, tasks: TaskList, trail: Trail, spot: Spot) -> Outcome:
    """Run tasks one after another, as their directives say, beginning with the output on the ``trail``.

    Returns:
        The last output; with ``end`` where the whole run is to end, ``wait`` where it is to be suspended.

    Raises:
        WorkflowError: a task failed.
    """
    if spot.depth > MAX_DEPTH:
        raise Standard.CONFIGURATION.error(
            "The workflow is nested too deeply", f"at most {MAX_DEPTH} task lists may stand inside each other"
        ).at(tasks.origin.pointer)
    before = run.progress.snapshot(spot.branch)
    if (jumped := run.progress.jumped(spot.key, spot.branch)) is not None:
        (steps, at), trail.output = jumped
    else:
        at, steps = run.entrance(tasks, trail), 0
    while at < len(tasks.tasks):
        task = tasks.tasks[at]
        outcome = await execute_task(run, task, trail.output, spot, f"{spot.key}/{steps}")
        trail.output = outcome.output
        steps += 1
        match outcome.then:
            case None | Directive.CONTINUE:
                at += 1
            case Directive.EXIT:
                return Outcome(trail.output, exited=True)
            case Directive.END:
                return outcome
            case Directive.WAIT:
                if _is_suspended(run, tasks, at, spot, outcome):
                    return Outcome(outcome.output, Directive.WAIT, suspended=True)
                at += 1
            case Goto() as goto:
                at = _index(tasks, goto, task)
                await run.progress.jump(spot.key, (steps, at), trail.output, (spot.branch, before))
        await take_turns(run)
    return Outcome(trail.output)


async def execute_task(run: WorkflowRun, task: Task, data: JSON, spot: Spot, key: str) -> Outcome:
    """Run one task, or return what it left behind in an earlier life of this run.

    Raises:
        WorkflowError: it failed; the error knows where.
    """
    if (known := run.progress.find(key, task)) is not None:
        return known.again(spot.branch, data)
    before = run.progress.snapshot(spot.branch)
    state = TaskState(task, data)
    try:
        outcome = await _through(run, state, spot, key)
    except WorkflowError as error:
        placed = error.at(task.origin.pointer)
        await run.notices.faulted(task, placed)
        raise placed from error.__cause__
    except (RecursionError, UnicodeEncodeError) as error:
        placed = _unwritable(error).at(task.origin.pointer)
        await run.notices.faulted(task, placed)
        raise placed from error
    except asyncio.CancelledError:
        run.notices.cancelled(task, out_of_time=run.out_of_time(key))
        raise
    if outcome is None:
        run.progress.skip(key, task)
        return Outcome(data)
    if outcome.suspended:
        run.notices.suspended(task)
    else:
        await run.progress.keep(key, task, outcome, (spot.branch, before))
    return outcome


def _unwritable(error: RecursionError | UnicodeEncodeError) -> WorkflowError:
    """Return the error of a value that cannot leave the run as text."""
    if isinstance(error, RecursionError):
        return Standard.RUNTIME.error(
            "A value is nested too deeply", "lists and objects inside each other fill the stack"
        )
    found = error.object[error.start : error.start + 1]
    return Standard.VALIDATION.error("A text has no UTF-8", f"it holds half of a surrogate pair, {found!a}")


async def _through(run: WorkflowRun, state: TaskState, spot: Spot, key: str) -> Outcome | None:
    """Take a task through its stages within its time; None where its condition does not hold."""
    task = state.task
    if task.timeout is None and not _is_limited(task):
        outcome = await _stages(run, state, spot, key, None)
    else:
        outcome = await _in_time(run, state, spot, key)
    if outcome is None or outcome.suspended:
        return outcome
    run.position = task.origin.pointer
    await run.notices.completed(task, outcome, state.said)
    return outcome


def _is_limited(task: Task) -> bool:
    """Whether a task has a limit where it names none."""
    return isinstance(task, RunTask) or (isinstance(task, CallTask) and not isinstance(task.call, FunctionCall))


def _default_limit_ms(run: WorkflowRun, task: Task) -> int:
    by_http = isinstance(task, CallTask) and isinstance(task.call, (HttpCall, OpenApiCall))
    return run.tools.http_limit_ms if by_http else run.tools.default_limit_ms


async def _in_time(run: WorkflowRun, state: TaskState, spot: Spot, key: str) -> Outcome | None:
    """Take a task through its stages; whatever it waits for is interrupted when its time is over."""
    with anyio.CancelScope() as scope, run.limited(key, scope):
        return await _stages(run, state, spot, key, Limit(scope, state))
    raise Standard.TIMEOUT.error(
        "The task took too long", f"task {state.task.name!r} did not end within {state.limit_ms} ms"
    )


async def _stages(run: WorkflowRun, state: TaskState, spot: Spot, key: str, limit: Limit | None) -> Outcome | None:
    task, entered = state.task, run.is_on_the_way(state.task)
    if limit is not None:
        limit.begin(_default_limit_ms(run, task))
    if task.if_ is not None and not entered:
        state.input = state.raw_input
        if not is_true(await run.value(task.if_, state, spot, state.raw_input, "/if")):
            await run.notices.skipped(task)
            return None
    if spot.extended is None:
        run.begins(task)
    await run.notices.started(task, again=entered or run.progress.entered(key))
    state.input = state.raw_input
    if task.input is not None and not entered:
        state.input = await run.transformed_input(task.input, state, spot)
    if limit is not None:
        await limit.settle(run, spot)
    state.raw_output = state.output = state.input
    inside = spot.inside(key.rpartition("/")[2])
    if run.workflow.use.extensions and spot.extended is None:
        outcome = await _extended(run, state, inside, limit)
    else:
        outcome = await body_of(task)(run, state, inside)
    return outcome if outcome.suspended else await _handed_on(run, state, spot, outcome)


async def _handed_on(run: WorkflowRun, state: TaskState, spot: Spot, outcome: Outcome) -> Outcome:
    """Return what a task hands on of what its own work left behind, and where to."""
    task = state.task
    state.raw_output = state.output = outcome.output
    if task.output is not None:
        state.output = await run.transformed_output(task.output, state, spot)
    if task.export is not None:
        await run.export(task.export, state, spot)
    then = outcome.then if outcome.then is not None else await run.directive(task.then, state, spot, state.output)
    return Outcome(state.output, then)


async def _extended(run: WorkflowRun, state: TaskState, spot: Spot, limit: Limit | None) -> Outcome:
    """Do the task's own work between what extensions do before and after it.

    Where a list before it is left by ``exit``, what that list leaves behind stands for the task's own work.
    """
    found = [each for each in run.workflow.use.extensions if each.extend in _extended_by(state.task)]
    applied: list[tuple[int, Extension]] = []
    outcome: Outcome | None = None
    for number, each in enumerate(found):
        here = spot.extending(f"x{number}b", state)
        if each.when is not None and not await _is_meant(run, each, each.when, state, here):
            continue
        applied.append((number, each))
        if each.before is not None and outcome is None:
            with limit.aside() if limit is not None else nullcontext():
                before = await execute_tasks(run, each.before, Trail(state.input), here)
            if before.then is Directive.END:
                return before
            outcome = Outcome(before.output) if before.exited else None
    if outcome is None:
        outcome = await body_of(state.task)(run, state, spot)
    state.raw_output = state.output = outcome.output
    for number, each in reversed(applied):
        if each.after is not None and not outcome.suspended:
            there = spot.extending(f"x{number}a", state)
            with limit.aside() if limit is not None else nullcontext():
                after = await execute_tasks(run, each.after, Trail(outcome.output), there)
            if after.then is Directive.END:
                return after
    return outcome


async def _is_meant(run: WorkflowRun, extension: Extension, when: Template, state: TaskState, spot: Spot) -> bool:
    """Tell whether an extension is for this task; an error is one of the extension's."""
    try:
        return is_true(await run.value(when, state, spot, state.input, ""))
    except WorkflowError as error:
        place = f"{extension.origin.pointer}/when"
        raise WorkflowError(error.type, error.status, error.title, error.detail, place) from error.__cause__


def _extended_by(task: Task) -> frozenset[str]:
    """Return the words by which extensions mean a task."""
    composite = isinstance(task, (DoTask, ForTask, ForkTask, TryTask))
    return frozenset({"all", kind_of(task), *(("composite",) if composite else ())})


def _is_suspended(run: WorkflowRun, tasks: TaskList, at: int, spot: Spot, outcome: Outcome) -> bool:
    """Whether ``wait`` suspends the run here; at the very end there is nothing to wait for.

    The run goes on at the next task, or, behind the last one, at the task around the list, which knows its place.
    """
    pointer = tasks.tasks[at].origin.pointer
    if outcome.suspended:
        run.resumes_at = run.resumes_at or pointer
        return True
    if not spot.waits:
        raise Standard.CONFIGURATION.error(
            "The run cannot wait here", "then: wait is not possible in a loop, in a branch of a fork or in a function"
        ).at(f"{pointer}/then")
    if at + 1 < len(tasks.tasks):
        run.resumes_at = tasks.tasks[at + 1].origin.pointer
        return True
    run.resumes_at = ""
    return spot.depth > 0


def _index(tasks: TaskList, goto: Goto, task: Task) -> int:
    at = tasks.index.get(goto.name)
    if at is None:
        raise Standard.CONFIGURATION.error(
            "A directive names no task", f"then gives {goto.name!r}, and the list has {', '.join(tasks.index)}"
        ).at(goto.at or f"{task.origin.pointer}/then")
    return at


async def take_turns(run: WorkflowRun) -> None:
    """Let others run now and then, so that a loop of tasks that wait for nothing blocks nobody and can be ended."""
    now = time.monotonic()
    if now - run.turn_began > _TURN_SEC:
        await asyncio.sleep(0)
        run.turn_began = time.monotonic()
