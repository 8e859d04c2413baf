"""``emit``: publishes an event."""

from __future__ import annotations

import json
from functools import partial
from typing import cast

from jobworkerp_standalone.jobs.cloud_events import completed, problem_of
from jobworkerp_standalone.runners.bus import EventBus
from jobworkerp_standalone.runners.json_turns import written
from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.large_json import beside, is_large
from jobworkerp_standalone.workflow.lifecycle import source_of
from jobworkerp_standalone.workflow.model.tasks import EmitTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_PLACE = "/emit/event/with"


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Publish the event, with what the document leaves out of it, and return it."""
    value = await run.value(cast("EmitTask", state.task).event, state, spot, state.input, _PLACE)
    try:
        event = await _event(run, value)
    except WorkflowError as error:
        raise error.at(state.task.origin.pointer + _PLACE) from error.__cause__
    # What this run hears of it is written down together with the end of this task.
    await run.tools.host.shared(EventBus).publish(event, later=run.progress.keep_heard)
    return Outcome(event)


async def _event(run: WorkflowRun, value: JSON) -> dict[str, JSON]:
    if not isinstance(value, dict):
        raise _no_event(f"it is {json_text(value)[:200]}, no object")
    if await run.tools.evaluator.first_beyond([value]) is not None:
        raise Standard.RUNTIME.error("The event is too large", f"it is {run.tools.evaluator.too_large}")
    given = {key: each for key, each in value.items() if each is not None or key == "data"}
    event = completed(given if "source" in value else {**given, "source": source_of(run.workflow)})
    problem = await beside(partial(problem_of, event), large=is_large(event))
    if problem is None:
        try:
            await written(event, _with_utf8)
        except UnicodeEncodeError as error:
            problem = f"it holds half of a surrogate pair, {error.object[error.start : error.start + 1]!a}"
    if problem is not None:
        raise _no_event(problem)
    return event


def _with_utf8(value: JSON) -> str:
    """Write a value that those outside can read."""
    text = json.dumps(value, ensure_ascii=False)
    text.encode()
    return text


def _no_event(problem: str) -> WorkflowError:
    return Standard.VALIDATION.error("The event is no CloudEvent", problem)
