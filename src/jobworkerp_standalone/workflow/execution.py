"""A run of a workflow from its input to its end, or to where it waits."""

from __future__ import annotations

import asyncio

import anyio

from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.flow import execute_tasks
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.large_json import text_of
from jobworkerp_standalone.workflow.run_state import Status
from jobworkerp_standalone.workflow.state import Spot, Trail
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute_workflow(run: WorkflowRun, value: JSON, *, again: bool = False) -> None:
    """Run to the end, ``again`` after an earlier life; how it ended is in ``status``, ``output`` and ``error``."""
    run.status = Status.RUNNING
    await run.notices.run_started(run, again=again)
    try:
        with run.closing:
            if not (run.workflow.listens_for | run.progress.wanted).nothing:
                await run.inbox.catch_up()
            await _within_limit(run, value)
        run.output_text = await text_of(run.output)
    except WorkflowError as error:
        _fault(run, error.at(""))
    except asyncio.CancelledError:
        run.status = Status.CANCELLED
        await run.notices.run_ended(run)  # waits for nothing
        raise
    except RecursionError:
        _fault(run, Standard.RUNTIME.error("A value is nested too deeply").at("/output"))
    await run.notices.run_ended(run)


def _fault(run: WorkflowRun, error: WorkflowError) -> None:
    run.status, run.error, run.output = Status.FAULTED, error, {"error": str(error)}
    run.output_text = json_text(run.output)
    run.position = error.instance or run.position


async def _within_limit(run: WorkflowRun, value: JSON) -> None:
    limit = run.workflow.timeout
    if limit is None:
        await _all(run, value)
        return
    run.input = value
    place = limit.place("/timeout")
    limit_ms = await run.milliseconds(limit.after, None, Spot(run.branch), value, place)
    with anyio.move_on_after(limit_ms / 1000) as scope, run.limited("", scope):
        await _all(run, value)
    if scope.cancelled_caught:
        raise Standard.TIMEOUT.error("The workflow took too long", f"it did not end within {limit_ms} ms")


async def _all(run: WorkflowRun, value: JSON) -> None:
    workflow, spot = run.workflow, Spot(run.branch)
    data = await _workflow_input(run, value, spot)
    outcome = await execute_tasks(run, workflow.do, Trail(data), spot)
    run.check_begun()
    run.output = outcome.output
    if outcome.suspended:
        run.status = Status.WAITING
        return
    if workflow.output is not None:
        run.output = await run.shaped(workflow.output, None, spot, outcome.output, "/output")
    run.status = Status.COMPLETED


async def _workflow_input(run: WorkflowRun, value: JSON, spot: Spot) -> JSON:
    given = run.workflow.input
    run.input = value
    if given is None:
        run.branch.context = value
        return value
    if given.schema is not None:
        try:
            run.input = value = await run.tools.checks.accepted(value, given.schema, "the input")
        except WorkflowError as error:
            run.input_is_wrong = error.type == Standard.VALIDATION.type
            raise error.at("/input") from error.__cause__
    if given.from_ is not None:
        value = await run.value(given.from_, None, spot, value, "/input")
    run.branch.context = value
    return value
