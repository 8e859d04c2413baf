"""``do``: a list of tasks."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.flow import execute_tasks
from jobworkerp_standalone.workflow.model.tasks import DoTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState, Trail
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Run the list on the task's input."""
    return await execute_tasks(run, cast("DoTask", state.task).do, Trail(state.input), spot)
