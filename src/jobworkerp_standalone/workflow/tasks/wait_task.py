"""``wait``: lets time pass."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.model.tasks import WaitTask
from jobworkerp_standalone.workflow.progress import pause
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Wait and pass the input on. A run that goes on after a crash waits only for what is left of the time."""
    duration = cast("WaitTask", state.task).duration
    duration_ms = await run.milliseconds(duration, state, spot, state.input, "/wait")
    await pause(run.progress, f"{spot.key}/until", duration_ms)
    return Outcome(state.input)
