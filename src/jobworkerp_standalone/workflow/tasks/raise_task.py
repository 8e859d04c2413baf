"""``raise``: fails on purpose."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.errors import Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.model.tasks import RaiseTask
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Raise the declared error, its members evaluated."""
    task = cast("RaiseTask", state.task)
    error = task.error

    async def text(member: Template | None, name: str) -> str | None:
        if member is None:
            return None
        value = await run.value(member, state, spot, state.input, f"/raise/error/{name}")
        return value if isinstance(value, str) or value is None else run.text(value)

    status = await run.value(error.status, state, spot, state.input, "/raise/error/status")
    if isinstance(status, bool) or not isinstance(status, (int, float)) or status != int(status):
        raise Standard.VALIDATION.error("The status of an error is no integer", f"it is {run.text(status)}").at(
            f"{task.origin.pointer}/raise/error/status"
        )
    type_ = await text(error.type, "type")
    raise WorkflowError(
        type_ or Standard.RUNTIME.type,
        int(status),
        await text(error.title, "title"),
        await text(error.detail, "detail"),
    )
