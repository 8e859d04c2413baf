"""``set``: an object whose members become variables."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.errors import Standard
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.tasks import SetTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Evaluate all members as things stood before, then set them."""
    task = cast("SetTask", state.task)
    value = await run.value(task.set, state, spot, state.input, "/set")
    if not isinstance(value, dict):
        raise Standard.VALIDATION.error("set gives no object", f"its expression gives {json_text(value)[:200]}").at(
            f"{task.origin.pointer}/set"
        )
    spot.branch.variables.update(value)
    return Outcome(value)
