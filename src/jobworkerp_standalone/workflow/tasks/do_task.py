"""``do``: a list of tasks."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.flow import Trail, run_list
from jobworkerp_standalone.workflow.model.tasks import DoTask
from jobworkerp_standalone.workflow.run import Run
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState


async def run(run: Run, state: TaskState, spot: Spot) -> Outcome:
    """Run the list on the task's input."""
    return await run_list(run, cast("DoTask", state.task).do, Trail(state.input), spot)
