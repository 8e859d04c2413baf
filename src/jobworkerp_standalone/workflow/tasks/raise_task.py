"""``raise``: fails on purpose."""

from __future__ import annotations

from typing import cast

from jobworkerp_standalone.workflow.errors import HIGHEST_STATUS, LOWEST_STATUS, Standard, WorkflowError
from jobworkerp_standalone.workflow.expressions.template import Template
from jobworkerp_standalone.workflow.expressions.values import JSON
from jobworkerp_standalone.workflow.json_writer import json_text
from jobworkerp_standalone.workflow.model.tasks import RaiseTask
from jobworkerp_standalone.workflow.pointers import declared, within
from jobworkerp_standalone.workflow.state import Outcome, Spot, TaskState
from jobworkerp_standalone.workflow.workflow_run import WorkflowRun


async def execute(run: WorkflowRun, state: TaskState, spot: Spot) -> Outcome:
    """Raise the declared error, its members evaluated."""
    task = cast("RaiseTask", state.task)
    error = task.error
    where = declared("errors", error.name, "/raise/error")

    async def value(member: Template, name: str) -> JSON:
        return await run.value(member, state, spot, state.input, f"{where}/{name}")

    async def text(member: Template | None, name: str) -> str | None:
        found = await value(member, name) if member is not None else None
        return found if isinstance(found, str) or found is None else json_text(found)

    def wrong(name: str, wanted: str, found: JSON) -> WorkflowError:
        return Standard.VALIDATION.error(
            f"The {name} of an error is no {wanted}", f"it is {json_text(found)[:200]}"
        ).at(within(task.origin.pointer, f"{where}/{name}"))

    type_, status = await value(error.type, "type"), await value(error.status, "status")
    if not isinstance(type_, str) or not type_.strip():
        raise wrong("type", "URI", type_)
    if (
        isinstance(status, bool)
        or not isinstance(status, (int, float))
        or status != int(status)
        or not LOWEST_STATUS <= status <= HIGHEST_STATUS
    ):
        raise wrong("status", f"integer from {LOWEST_STATUS} to {HIGHEST_STATUS}", status)
    raise WorkflowError(type_, int(status), await text(error.title, "title"), await text(error.detail, "detail"))
