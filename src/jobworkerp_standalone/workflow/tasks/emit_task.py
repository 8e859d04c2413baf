"""``emit``: publishes an event."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.jobs.cloud_events import completed, problem_of
from jobworkerp_standalone.runners.bus import EventBus
from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.lifecycle import source_of
from jobworkerp_standalone.workflow.model.tasks import EmitTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun

_PLACE = "/emit/event/with"


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Publish the event, with what the document leaves out of it, and return it."""
    value = await run.value(cast("EmitTask", state.task).event, state, spot, state.input, _PLACE)
    problem = f"it is {json_text(value)[:200]}, no object"
    if isinstance(value, dict):
        given = {key: each for key, each in value.items() if each is not None or key == "data"}
        event = completed(given if "source" in value else {**given, "source": source_of(run.workflow)})
        problem = problem_of(event)
        if problem is None:
            # What this run hears of it is written down together with the end of this task.
            await run.tools.host.shared(EventBus).publish(event, later=run.progress.keep_heard)
            return Outcome(event)
    raise Standard.VALIDATION.error("The event is no CloudEvent", problem).at(state.task.origin.pointer + _PLACE)
